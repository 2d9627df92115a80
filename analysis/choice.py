"""One network out of a front, and the reason: the smallest that is accurate enough, the most accurate that is small enough, the knee.

Accuracies are those on validation data: test data pick nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plots import costs
from analysis.records import Record
from analysis.studies import BadStudy

__all__ = ["Choice", "Limits", "NothingFits", "choose", "named"]


class NothingFits(LookupError):
    """No network keeps the limits; one line names what is nearest."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``min_accuracy`` in [0, 1], ``max_size`` in bytes, ``max_gops`` an image; ``knee``: of what keeps them, the knee."""

    min_accuracy: float | None = None
    max_size: float | None = None
    max_gops: float | None = None
    knee: bool = False

    def __post_init__(self) -> None:
        if not (self.knee or self.words):
            raise BadStudy("pick: give --min-accuracy, --max-size, --max-gops or --knee")

    @property
    def words(self) -> str:
        """As a person says it; empty where there is no limit."""
        accuracy = [f"an accuracy of at least {self.min_accuracy:.4g}"] if self.min_accuracy is not None else []
        size = [f"at most {self.max_size:,.0f} bytes"] if self.max_size is not None else []
        gops = [f"at most {self.max_gops:g} GOps"] if self.max_gops is not None else []
        return " and ".join([*accuracy, *size, *gops])

    def excess(self, front: pd.DataFrame) -> NDArray[np.float64]:
        """By network, how far it is outside: the sum of the shares by which limits are broken, 0 where all are kept."""
        found = np.zeros(len(front))
        if self.min_accuracy is not None:
            found += np.clip(self.min_accuracy - front["accuracy"].to_numpy(float), 0, None)
        for name, limit in (("size", self.max_size), ("gops", self.max_gops)):
            if limit is not None:
                found += np.clip(front[name].to_numpy(float) / limit - 1, 0, None)
        return found


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A network of ``record``: ``row`` of its front, ``number`` in it from 1, and why it is this one."""

    record: Record
    row: pd.Series
    number: int
    reason: str

    @property
    def line(self) -> str:
        """All of it for a person."""
        row = self.row
        test = "" if pd.isna(row["test_accuracy"]) else f" (test {row['test_accuracy']:.2%})"
        luck = "" if pd.isna(row["on_front"]) else f", on the front by other seeds in {row['on_front']:.0%} of draws"
        cost = f"{row['size']:,.0f} bytes, {row['ratio']:.1f}x smaller, {row['gops']:.3g} GOps"
        return f"{self.record.name} {named(row)}: accuracy {row['accuracy']:.2%}{test}, {cost}{luck}; {self.reason}"

    def plain(self) -> dict[str, Any]:
        """For a program: where it is, its metrics, its knobs, the reason."""
        record, row = self.record, self.row
        trial = record.trials.loc[row["trial_id"]]
        about = {"study": record.name, "point": named(row), "number": self.number, "reason": self.reason}
        about["run_id"] = record.run_id
        if isinstance(row["artifact"], str):  # a search that goes on has left no files yet
            about["artifact_uri"] = f"runs:/{record.run_id}/{row['artifact']}"
        knobs = trial.drop(["end", "reason", "epochs"]).dropna()
        return {**about, "metrics": _plain(row), "config": _plain(knobs)}


def choose(record: Record, limits: Limits) -> Choice:
    """NothingFits where no network keeps the limits; BadStudy where there is none at all."""
    front = record.front
    if front.empty:
        raise BadStudy(f"study = {record.name!r}: its front is empty")
    excess = limits.excess(front)
    fits = np.flatnonzero(excess == 0)
    if not len(fits):
        near = front.iloc[int(np.argmin(excess))]
        told = f"accuracy {near['accuracy']:.2%}, {near['size']:,.0f} bytes, {near['gops']:.3g} GOps"
        raise NothingFits(f"no network of {record.name} has {limits.words}; nearest is {named(near)}: {told}")
    cost, fitting = costs(record)[0], front.iloc[fits]
    of = f"{len(fits)} with {limits.words}" if limits.words else f"{len(fits)} networks"
    if limits.knee:
        place, reason = _knee(fitting, cost), f"the knee of {of}: farthest above the line between the ends"
    elif limits.max_size is None and limits.max_gops is None:
        least = "smallest" if cost == "size" else f"one of least {cost.replace('_', ' ')}"
        place, reason = _first(fitting, cost, "accuracy"), f"the {least} of {of}"
    else:
        place, reason = _first(fitting, "accuracy", cost), f"the most accurate of {of}"
    number = int(fits[place])
    return Choice(record=record, row=front.iloc[number], number=number + 1, reason=reason)


def named(row: pd.Series) -> str:
    """A network's name, as ``export`` and ``verify`` take it: its file's, else trial and epoch."""
    artifact = row["artifact"]
    return PurePosixPath(artifact).stem if isinstance(artifact, str) else f"{row['trial_id']}-e{row['epoch']:03d}"


def _first(front: pd.DataFrame, *names: str) -> int:
    """Place of the best by these columns, in turn."""
    keys = [front[name].to_numpy(float) * (-1 if name == "accuracy" else 1) for name in names]
    return int(np.lexsort(keys[::-1])[0])


def _knee(front: pd.DataFrame, cost: str) -> int:
    """Place of the network farthest above the line between the cheapest and the most accurate, in accuracy and log(cost)."""
    x, y = np.log(np.maximum(front[cost].to_numpy(float), 1e-12)), front["accuracy"].to_numpy(float)
    x, y = ((v - v.min()) / (np.ptp(v) or 1.0) for v in (x, y))
    return int(np.argmax(y - x))


def _plain(row: pd.Series) -> dict[str, Any]:
    """Python's own numbers, without what is missing."""
    return {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items() if not pd.isna(v)}
