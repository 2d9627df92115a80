"""One HTML page of one or many studies that opens anywhere: figures, tables and plotly's own script are inside it.

The page forbids itself every request (Content-Security-Policy). Text of a record reaches it through autoescape, JSON
or ``labels.safe`` alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.comparison import Group, grouped
from analysis.figures import Series, members, series_of
from analysis.importance import LEAST, importance
from analysis.interactive import climb_figure, front_figure, importance_figure, knobs_figure
from analysis.labels import axis_title, knob_text, safe, short
from analysis.plots import FACTORS, costs
from analysis.records import Record
from analysis.report_tables import Made, study_tiles, trial_rows

__all__ = ["page"]

_PAGE = Path(__file__).parent / "page"
_LINE = 110  # pixels that an axis of parallel coordinates wants
_DIGITS = 6
_NAMED = 4  # studies that a title names


def page(records: Sequence[Record], made: Sequence[Made], foot: str) -> str:
    """The whole file; ``made`` a study, ``foot`` is said of the page itself."""
    lines, figures = series_of(records), _Figures()
    groups = [(group, _of(group, lines)) for group in grouped(records)]
    networks = list(dict.fromkeys(f"{r.network} on {r.data}" for r in records))
    about = {
        "title": ", ".join(r.name for r in records) if len(records) <= _NAMED else f"{len(records)} studies",
        "lead": f"{', '.join(dict.fromkeys(s.method for s in lines))}; {', '.join(networks)}",
        "foot": foot,
        "series": lines,
        "tested": any(r.front["test_accuracy"].notna().any() for r in records),
        "repeated": any(r.front.get("on_front", pd.Series(dtype=float)).notna().any() for r in records),
        "studies": study_tiles(records, lines, made),
        "groups": [_group(*pair, number, figures) for number, pair in enumerate(groups)],
        "climb": figures.add("climb", climb_figure(lines)) if any(len(r.epochs) for r in records) else None,
        "knobs": [_knobs(s, number, figures) for number, (_, own) in enumerate(groups) for s in own if s.knobs],
        "importances": [_importance(i, record, lines, figures) for i, record in enumerate(records)],
    }
    about["columns"], about["rows"] = trial_rows(lines)
    data = {
        "figures": figures.found,
        "trials": _trials([own for _, own in groups]),
        "first": _first([own for _, own in groups]),
    }
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html.jinja")
    return template.render(**about, data=data, plotly=Markup(get_plotlyjs()))  # noqa: S704 - plotly's own text


class _Figures:
    """The figures of a page by the id of the element that they are drawn into."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add(self, name: str, figure: Any, **meta: Any) -> str:
        plain = json.loads(figure.to_json())
        plain["layout"].pop("template", None)
        plain["layout"]["meta"] |= meta
        self.found[name] = plain
        return name


def _of(group: Group, lines: Sequence[Series]) -> list[Series]:
    return [series for series in lines if any(series.record is record for record in group.records)]


def _group(group: Group, lines: Sequence[Series], number: int, figures: _Figures) -> dict[str, Any]:
    names = [
        figures.add(f"front-{number}-{i}", front_figure(lines, cost), cost=cost, group=number)
        for i, cost in enumerate(group.costs)
    ]
    return {"about": group.title, "figures": names}


def _knobs(series: Series, group: int, figures: _Figures) -> dict[str, Any]:
    count = len(series.trials)
    return {
        "series": series.number,
        "label": series.label,
        "about": f"{count} trial{'s' if count != 1 else ''}",
        "figure": figures.add(f"knobs-{series.number}", knobs_figure(series), group=group),
        "width": _LINE * (len(series.knobs) + 2),
    }


def _importance(study: int, record: Record, lines: Sequence[Series], figures: _Figures) -> dict[str, Any]:
    found, several = importance(record), len({s.study for s in lines}) > 1
    part = {
        "series": [s.number for s in lines if s.study == study],
        "label": record.name if several else "",
        "figure": "",
    }
    if found is None:
        few = f"needs {LEAST} trials that ended in good order, a knob that varies, and a front"
        return {**part, "about": few}
    part["figure"] = figures.add(f"importance-{study}", importance_figure(found))
    return {**part, "about": f"{found.trials} trials{': few, so take it as a hint' if found.trials < 50 else ''}"}


def _trials(groups: Sequence[Sequence[Series]]) -> dict[str, Any]:
    """What a click shows, by key: texts, knobs and the curves of every measure that is drawn."""
    told = {}
    for number, group in enumerate(groups):
        for series in group:
            by_trial = {str(name): rows for name, rows in series.record.epochs.groupby("trial_id", sort=False)}
            for name, row in series.trials.iterrows():
                told[series.key(str(name))] = _trial(series, str(name), row, by_trial.get(str(name)), number)
    return told


def _trial(series: Series, trial_id: str, row: pd.Series, epochs: pd.DataFrame | None, group: int) -> dict[str, Any]:
    names = ["accuracy", *costs(series.record)]
    empty = pd.DataFrame(columns=["epoch", *names], dtype=float)
    table = empty if epochs is None else epochs.sort_values("epoch")
    return {
        "group": group,
        "title": f"{series.label}, trial {trial_id}",
        "about": f"{row['end']} after {short(row['epochs'])} epochs, seed {short(row['seed'])}",
        "colour": series.colour,
        "knobs": knob_text(series, trial_id),
        "epochs": table["epoch"].astype(int).tolist(),
        "curves": [_curve(name, table[name]) for name in names],
    }


def _curve(name: str, values: pd.Series) -> dict[str, Any]:
    """In the unit of the measure's axis."""
    accuracy = name == "accuracy"
    label, factor = ("accuracy in %", 100.0) if accuracy else (safe(axis_title(name)), FACTORS.get(name, 1.0))
    return {"name": name, "label": label, "values": _rounded(values * factor)}


def _first(groups: Sequence[Sequence[Series]]) -> list[tuple[str, int]]:
    """Of each group a network in the middle of its front, which the page opens with."""
    found = []
    for group in groups:
        best = [(s, row) for s in group for row in members(s, costs(s.record)[0]).to_dict("records") if row["best"]]
        best.sort(key=lambda pair: float(pair[1]["cost"]))
        if best:
            series, row = best[len(best) // 2]
            found.append((series.key(row["trial_id"]), int(row["epoch"])))
    return found


def _rounded(values: Iterable[float]) -> list[float | None]:
    """As few digits as curves need; None where a number is not finite, which JSON has no word for."""
    return [float(f"{v:.{_DIGITS}g}") if math.isfinite(v) else None for v in values]
