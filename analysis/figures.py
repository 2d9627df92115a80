"""What the figures of a report show, as plain tables: fronts, hypervolume over epochs spent, knobs along parallel axes.

How they are drawn is another matter: ``analysis.interactive`` for the page, ``analysis.pictures`` for papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pareto import NEAR_CHANCE, Scale, hypervolume
from analysis.plots import FACTORS, costs
from analysis.records import Record

__all__ = ["Axis", "Series", "axis_of", "climb", "knob_lines", "members", "others", "series_of"]

_FIXED = ("method", "seed", "end", "reason", "epochs")  # columns of a record's trials that are no knobs
_DECADES = 30.0  # largest over smallest, from which an axis is logarithmic
_TOLD = (
    ("test", "test_accuracy", 100),
    ("mean", "seeds_accuracy", 100),
    ("std", "seeds_std", 100),
    ("on_front", "on_front", 1),
)
_LOOKS = (  # colour-blind safe, and readable on white and on black
    ("#2f7fc1", "circle", "o", "●"),
    ("#d55e00", "square", "s", "■"),
    ("#009e73", "diamond", "D", "◆"),
    ("#b8719b", "triangle-up", "^", "▲"),
    ("#b5860b", "hexagon", "h", "⬢"),
    ("#7a6fd0", "triangle-down", "v", "▼"),
    ("#8c6d5a", "star", "*", "★"),
    ("#3f8f9e", "cross", "P", "✚"),
)


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one method found in one study: the unit that a page filters, with a colour and a mark of its own.

    ``symbol``, ``marker`` and ``sign`` are that mark in plotly, in matplotlib and in text.
    """

    number: int
    study: int
    record: Record
    method: str
    label: str
    colour: str
    symbol: str
    marker: str
    sign: str

    @property
    def trials(self) -> pd.DataFrame:
        """Its rows of the study's trials."""
        return self.record.trials[self.record.trials["method"] == self.method]

    @property
    def knobs(self) -> list[str]:
        """Names of what was searched: knobs that are set in at least one of its trials."""
        table = self.trials
        return [str(name) for name in table if name not in _FIXED and table[name].notna().any()]

    def key(self, trial_id: str) -> str:
        """A trial's name on a page of several studies."""
        return f"{self.study}:{trial_id}"


def series_of(records: Sequence[Record]) -> list[Series]:
    """One a method and study, in the order of both; the label leaves out what all share."""
    pairs = [(i, record, str(m)) for i, record in enumerate(records) for m in record.trials["method"].unique()]
    alone, distinct = len(records) == 1, len({method for _, _, method in pairs}) == len(pairs)
    found = []
    for number, (study, record, method) in enumerate(pairs):
        colour, symbol, marker, sign = _LOOKS[number % len(_LOOKS)]
        label = method if alone or distinct else f"{method} · {record.name}"
        look = {"colour": colour, "symbol": symbol, "marker": marker, "sign": sign}
        found.append(Series(number=number, study=study, record=record, method=method, label=label, **look))
    return found


def members(series: Series, cost: str) -> pd.DataFrame:
    """Its members of the study's front, the smallest cost first.

    Columns trial_id, epoch, cost (in the axis' unit), accuracy and test (in percent), times (smaller than the dense network),
    ``best``: on the front of accuracy and this cost alone, of the whole study. Where members were trained again: mean and
    std of their accuracy (in percent) and ``on_front``, the chance that one is really there; NaN elsewhere.
    """
    record = series.record
    front = _table(record, record.front, cost)
    for name, source, factor in _TOLD:
        front[name] = factor * record.front[source].astype(float) if source in record.front else np.nan
    front = front[front["cost"] > 0].sort_values(["cost", "accuracy"], ascending=[True, False], ignore_index=True)
    before = front["accuracy"].cummax().shift(fill_value=-np.inf)
    front["best"] = front["accuracy"] > before
    return _own(series, front)


def others(series: Series, cost: str) -> pd.DataFrame:
    """The last network of every trial of its that has none on the front; columns as ``members`` has, without ``best``."""
    record = series.record
    away = record.epochs[~record.epochs["trial_id"].isin(record.front["trial_id"])]
    table = _table(record, away.groupby("trial_id", sort=False).tail(1), cost)
    return _own(series, table[table["cost"] > 0].reset_index(drop=True))


def climb(record: Record) -> pd.DataFrame:
    """Hypervolume over epochs spent: columns spent, hypervolume; a row where it grew, the first and the last.

    Empty where there are not 2 or 3 objectives. Networks count in the order of the record.
    """
    if len(record.objectives) not in (2, 3) or record.epochs.empty:
        return pd.DataFrame({"spent": [], "hypervolume": []}, dtype=float)
    scale, names = Scale(list(record.objectives), record.dense, record.chance), list(record.objectives)
    spent = (record.epochs["epoch"] > 0).cumsum().to_numpy()
    able = (record.epochs["accuracy"] >= record.chance + NEAR_CHANCE).to_numpy()
    rows = record.epochs[names].to_dict("records")
    front, volume, steps = np.empty((0, len(names))), 0.0, [(0, 0.0)]
    for i in np.flatnonzero(able):
        grown = _grown(front, np.asarray(scale(rows[i])))
        if grown is not None:
            front, old = grown, volume
            volume = hypervolume(front, scale.reference)
            steps += [(int(spent[i]), volume)] if volume > old else []
    steps.append((int(spent[-1]), volume))
    table = pd.DataFrame(steps, columns=["spent", "hypervolume"])
    return table.drop_duplicates("spent", keep="last", ignore_index=True)


@dataclass(frozen=True)
class Axis:
    """A knob along an axis: numbers from ``low`` to ``high``, or ``choices`` as texts where they are no numbers."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def place(self, values: pd.Series) -> NDArray[np.float64]:
        """In [0, 1]; NaN where a trial does not set it; the middle where there is but one value."""
        if self.choices:
            places = {c: i / max(len(self.choices) - 1, 1) for i, c in enumerate(self.choices)}
            lone = 0.5 if len(self.choices) == 1 else None
            return np.array([np.nan if pd.isna(v) else lone or places[str(v)] for v in values], dtype=float)
        numbers = values.astype(float).to_numpy()
        if self.high <= self.low:
            return np.where(np.isnan(numbers), np.nan, 0.5)
        if self.log:
            return np.asarray(np.log(numbers / self.low) / np.log(self.high / self.low))
        return np.asarray((numbers - self.low) / (self.high - self.low))


def axis_of(name: str, values: pd.Series) -> Axis:
    """From the values that were tried: logarithmic where they are positive and span more than a decade and a half."""
    known = values.dropna()
    if known.empty or not pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known):
        return Axis(name, choices=tuple(sorted({str(v) for v in known})))
    numbers = known.astype(float)
    low, high, whole = float(numbers.min()), float(numbers.max()), bool((numbers % 1 == 0).all())
    return Axis(name, low, high, low > 0 and high / low >= _DECADES, whole)


def knob_lines(series: Series) -> tuple[list[Axis], pd.DataFrame]:
    """Its knobs along parallel axes, best accuracy and last cost behind them, and each trial's places in [0, 1].

    Of the table: index trial_id, a column an axis, ``front``: it has a network on the study's front.
    """
    trials, record = series.trials, series.record
    cost = costs(record)[0]
    last = record.epochs.groupby("trial_id").tail(1).set_index("trial_id")
    table = trials[series.knobs].assign(
        **{
            "accuracy in %": 100 * last["accuracy"].reindex(trials.index),
            cost: last[cost].reindex(trials.index) * FACTORS.get(cost, 1.0),
        }
    )
    axes = [axis_of(str(name), table[name]) for name in table]
    places = pd.DataFrame({axis.name: axis.place(table[axis.name]) for axis in axes}, index=trials.index)
    return axes, places.assign(front=trials.index.isin(record.front["trial_id"]))


def _table(record: Record, rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    values = rows[cost].astype(float)
    with np.errstate(divide="ignore"):
        times = np.divide(record.dense.get(cost, np.nan), values)
    plain = {"cost": values * FACTORS.get(cost, 1.0), "accuracy": 100 * rows["accuracy"].astype(float), "times": times}
    return rows[["trial_id", "epoch"]].assign(**plain)


def _own(series: Series, table: pd.DataFrame) -> pd.DataFrame:
    return table[table["trial_id"].isin(series.trials.index)].reset_index(drop=True)


def _grown(front: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The front with one more point; None where that changes nothing."""
    if len(front) and (front <= point).all(1).any():
        return None
    return np.vstack([front[~(point <= front).all(1)], point])
