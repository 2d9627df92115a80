"""Which knobs decide, by Optuna's own evaluator (PED-ANOVA, arXiv 2304.10255; conditional knobs, arXiv 2601.20800).

Optuna's study is rebuilt in memory from the record. An importance says how far the knob's values in the better trials differ
from those of all trials; the importances of a study add up to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection

from analysis.figures import Axis, axis_of
from analysis.plots import FACTORS, costs
from analysis.records import Record

__all__ = ["LEAST", "Importance", "importance"]

_MAX, _MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
LEAST = 10  # trials below which an importance is chance
_GOOD = 5  # better trials that the evaluator wants at least
_SHARE = 0.1
_NO_KNOBS = ("seed", "end", "reason", "epochs")


@dataclass(frozen=True)
class Importance:
    """``shares``: index knob, the most important first; columns ``front`` and, where trials reach it, ``small``.

    ``small`` is for networks whose cost is at most ``bound``, the median of the front's, in the unit of the cost's axis.
    """

    shares: pd.DataFrame
    trials: int
    cost: str
    bound: float


def importance(record: Record) -> Importance | None:
    """None where fewer than ``LEAST`` trials ended in good order, or nothing was varied.

    Over the whole front: which trials Optuna ranks first for all objectives at once, by each trial's last network. At its small
    end: those whose best network within the bound is the most accurate.
    """
    last = record.epochs[record.epochs["epoch"] > 0].groupby("trial_id").tail(1).set_index("trial_id")
    ended = record.trials["end"].isin(["done", "stopped"]) & record.trials.index.isin(last.index)
    trials = record.trials[ended]
    knobs = {str(n): axis_of(str(n), trials[n]) for n in trials if n not in _NO_KNOBS}
    knobs = {name: axis for name, axis in knobs.items() if axis.high > axis.low and len(axis.choices) != 1}
    if len(trials) < LEAST or not knobs or record.front.empty:
        return None
    cost = costs(record)[0]
    bound = float(record.front[cost].median())
    vectors = last.loc[trials.index, list(record.objectives)].astype(float).to_numpy().tolist()
    ways = [_MAX if way == "max" else _MIN for way in record.objectives.values()]
    columns = {"front": _shares(trials, knobs, vectors, ways, len(trials))}
    best = record.epochs[record.epochs[cost] <= bound].groupby("trial_id")["accuracy"].max().reindex(trials.index)
    if reached := int(best.notna().sum()):
        losses = [[float(loss)] for loss in (1 - best).fillna(1.0)]
        columns["small"] = _shares(trials, knobs, losses, [_MIN], reached)
    shares = pd.DataFrame(columns).sort_values("front", ascending=False)
    return Importance(shares, len(trials), cost, bound * FACTORS.get(cost, 1.0))


def _shares(
    trials: pd.DataFrame, knobs: dict[str, Axis], values: Sequence[list[float]], ways: list[StudyDirection], able: int
) -> dict[str, float]:
    """``able``: how many trials can be told from the worst."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=ways)
    spread = {name: _distribution(axis) for name, axis in knobs.items()}
    for (_, row), vector in zip(trials.iterrows(), values, strict=True):
        told = {n: _plain(row[n], axis) for n, axis in knobs.items() if not pd.isna(row[n])}
        study.add_trial(optuna.create_trial(params=told, distributions={n: spread[n] for n in told}, values=vector))
    share = min(max(_SHARE, _GOOD / len(trials)), 0.5, able / len(trials))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few trials make it uncertain: the page gives their number
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(share, 0.99))
        return get_param_importances(study, evaluator=evaluator)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _plain(value: object, axis: Axis) -> str | float:
    if axis.choices:
        return str(value)
    return int(float(str(value))) if axis.whole else float(str(value))
