"""The tables of a report's page as plain texts: what a study came to, how it was made, a row a trial."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from analysis.figures import Series, climb
from analysis.labels import axis_title
from analysis.plots import FACTORS, costs
from analysis.records import Record

__all__ = ["Made", "made_of", "study_tiles", "trial_rows", "trial_table"]

_ACCURACY = "accuracy in %"
_NEAR = 0.01  # accuracy that "smallest" may lose
_SECRET = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True)
class Made:
    """How a study was made: ``about`` what its study.yaml says, empty where the record has none."""

    about: Mapping[str, Any] = field(default_factory=dict)


def made_of(text: str | None) -> Made:
    """From the text of a study.yaml."""
    try:
        about = yaml.safe_load(text or "")
    except yaml.YAMLError:
        about = None
    return Made(about if isinstance(about, Mapping) else {})


def study_tiles(records: Sequence[Record], lines: Sequence[Series], made: Sequence[Made]) -> list[dict[str, Any]]:
    """A study: name, methods, the numbers it came to, and how it was made."""
    tiles = []
    for study, (record, how) in enumerate(zip(records, made, strict=True)):
        own = [s for s in lines if s.study == study]
        tiles.append(
            {
                "name": record.name,
                "about": f"{', '.join(s.method for s in own)}; {record.network} on {record.data}",
                "methods": [(s.sign, s.colour, s.method) for s in own],
                "numbers": _numbers(record),
                "made": _made(record, how),
            }
        )
    return tiles


def trial_table(lines: Sequence[Series]) -> pd.DataFrame:
    """Every trial of every series: index its key; its name, method and study, how it ended, its last network, its knobs.

    Costs stand in the units of their axes, and columns of numbers are numbers.
    """
    several = len({series.study for series in lines}) > 1
    parts = []
    for series in lines:
        record, trials = series.record, series.trials
        last = record.epochs.groupby("trial_id").tail(1).set_index("trial_id").reindex(trials.index)
        table = pd.DataFrame({"trial": trials.index.astype(str), "method": series.method}, index=trials.index)
        table["study"] = record.name if several else None
        table[["end", "epochs"]] = trials[["end", "epochs"]]
        table["on front"] = record.front["trial_id"].value_counts().reindex(trials.index).fillna(0).astype(int)
        table[_ACCURACY] = 100 * last["accuracy"].astype(float)
        for name in costs(record):
            table[axis_title(name)] = last[name].astype(float) * FACTORS.get(name, 1.0)
        table = table.join(trials[[name for name in series.knobs if name not in table]])
        parts.append(
            table.assign(reason=trials["reason"].replace("", None), series=series.number).set_axis(
                [series.key(str(name)) for name in trials.index]
            )
        )
    whole = pd.concat(parts)
    return whole[[*whole.columns.drop(["reason", "series"]), "reason", "series"]]


def trial_rows(lines: Sequence[Series]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same as columns and rows of cells; ``value`` is what a cell sorts by, empty where there is none."""
    table = trial_table(lines)
    shown = table.drop(columns="series")
    numbers = [pd.api.types.is_numeric_dtype(c) and not pd.api.types.is_bool_dtype(c) for _, c in shown.items()]
    digits = [_decimals(c) if number else None for number, (_, c) in zip(numbers, shown.items(), strict=True)]
    columns = [{"name": str(name), "number": number} for name, number in zip(shown, numbers, strict=True)]
    rows = []
    for key, number, values in zip(table.index, table["series"], shown.itertuples(index=False), strict=True):
        look = lines[int(number)]
        cells = [_cell(value, places) for value, places in zip(values, digits, strict=True)]
        rows.append({"series": look.number, "key": key, "sign": look.sign, "colour": look.colour, "cells": cells})
    return columns, rows


def _numbers(record: Record) -> list[tuple[str, str]]:
    trials, front, rises = record.trials, record.front, climb(record)
    ends = trials["end"].value_counts()
    early = [f"{ends[end]} {end}" for end in ("stopped", "failed", "running") if end in ends]
    numbers = [(", ".join(["trials", *early]), f"{len(trials):,}")]
    numbers.append(("epochs spent", f"{int((record.epochs['epoch'] > 0).sum()):,}"))
    numbers.append(("networks on the front", f"{len(front):,}"))
    if len(rises):
        numbers.append(("hypervolume", f"{rises['hypervolume'].iloc[-1]:.3f}"))
    if len(front):
        numbers.append(("most accurate", f"{100 * front['accuracy'].max():.2f} %"))
    near = front[front["accuracy"] >= record.dense["accuracy"] - _NEAR] if len(front) else front
    if len(near) and "size" in near:
        least = float(near["size"].min())
        numbers.append(("smallest within 1 point", f"{_bytes(least)}, {record.dense['size'] / least:,.1f}×"))
    return numbers


def _made(record: Record, how: Made) -> list[tuple[str, str]]:
    about, tags, dense = how.about, record.tags, record.dense
    versions = about.get("versions") or {k.partition(".")[2]: v for k, v in tags.items() if k.startswith("version.")}
    tested = f", {100 * dense['test_accuracy']:.2f} % on test data" if "test_accuracy" in dense else ""
    reference = (
        f"{100 * dense['accuracy']:.2f} %{tested}; {dense.get('weights', math.nan):,.0f} weights, "
        f"{_bytes(dense['size'])}, {dense['gops']:.3g} GOps; {about.get('start', tags.get('start', ''))}"
    )
    pairs = [
        ("command", _SECRET.sub("", str(about.get("command", "")))),
        ("begun", str(about.get("began", ""))),
        ("search space", tags.get("space", "")),
        ("objectives", ", ".join(f"{name} ({way})" for name, way in record.objectives.items())),
        ("data", f"{record.data}, {'×'.join(map(str, record.input_shape))}"),
        ("split", f"{record.split}: validation data pick, test data are read once at the end"),
        ("dense network", f"{record.network}: {reference}"),
        ("commit", tags.get("commit", "")),
        ("versions", ", ".join(f"{name} {number}" for name, number in dict(versions).items())),
        ("MLflow run", record.run_id),
    ]
    return [(name, value) for name, value in pairs if value]


def _decimals(column: pd.Series) -> int:
    """How many a column of numbers shows, so that its points stand below each other: three digits of most."""
    sizes = column.dropna().astype(float).abs()
    sizes = sizes[sizes > 0]
    if sizes.empty or (sizes % 1 == 0).all():
        return 0
    least = 2 if column.name == _ACCURACY else 0
    return int(min(max(2 - math.floor(math.log10(sizes.quantile(0.25))), least), 6))


def _cell(value: Any, decimals: int | None) -> dict[str, Any]:
    if value is None or pd.isna(value):
        return {"text": "–", "value": "", "number": decimals is not None}
    if decimals is None:
        return {"text": str(value), "value": str(value), "number": False}
    return {"text": f"{float(value):,.{decimals}f}", "value": repr(float(value)), "number": True}


def _bytes(size: float) -> str:
    """``812 B``, ``12.3 kB``, ``4.56 MB``."""
    for name in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} B" if name == "B" else f"{size:.3g} {name}"
        size /= 1000
    return f"{size:.3g} GB"
