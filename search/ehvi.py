"""Sampler ``ehvi``: the point that is expected to raise the hypervolume most, conditional knobs and stopped trials included.

Formula: x* = argmax_x E[HV(F + y(x)) - HV(F)], y the surrogate's (``surrogate``), F the front of what trials ended with or are heading for
(``forecast``), running ones included (Emmerich, Giannakoglou & Naujoks 2006, doi 10.1109/TEVC.2005.859463). Places are the unit cube's, a knob that
a trial does not have outside of it; the expectation is a mean over normal draws, the argmax over candidates: random ones, and neighbours of the
best known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import NEAR_CHANCE, Scale, front_mask
from search.distributions import distribution
from search.forecast import place
from search.surrogate import Surrogate
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.limits import Constraints

__all__ = ["EhviSampler", "Outlook", "corner", "improvement"]

Points = NDArray[np.float64]

_START = 6  # trials known before a model is asked
_LATEST = 300  # of more trials the latest are learnt from
_CANDIDATES, _NEIGHBOURS, _STEP = 1000, 250, 0.1
_DRAWS = {2: 64, 3: 16}


@dataclass(frozen=True)
class Outlook:
    """What a search knows beyond its study: the ``scale`` of its hypervolume, and what its trials' coordinates end with, by trial id."""

    scale: Scale
    ends: Callable[[], Mapping[str, Sequence[float]]] = dict


def improvement(front: Points, points: Points, reference: Sequence[float]) -> Points:
    """(k, m), (n, m) -> (n,): by how much each point alone would raise the front's hypervolume. Sweep along the last axis."""
    top = float(reference[-1])
    if points.shape[1] == 1:
        best = min([top, *front[:, 0]])
        return np.maximum(best - points[:, 0], 0.0)
    inside = front[front[:, -1] < top]
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    edges = [-np.inf, *inside[:, -1], top]
    total = np.zeros(len(points))
    for number, (low, high) in enumerate(pairwise(edges)):
        reached = np.flatnonzero(points[:, -1] < high)
        if high > low and len(reached):
            depth = high - np.maximum(low, points[reached, -1])
            total[reached] += depth * improvement(inside[:number, :-1], points[reached, :-1], reference[:-1])
    return total


def corner(scale: Scale, limits: Constraints) -> list[float] | None:
    """The worst that is of use: the scale's, and where the constraints are; None where one is on what is no objective."""
    found = dict.fromkeys(scale.objectives, 1.0)
    bounds: list[tuple[str, float | None]] = [("accuracy", limits.min_accuracy), ("gops", limits.max_gops)]
    if limits.max_size is not None and "size" not in found and {"rate", "size"} <= scale.dense.keys():
        bounds.append(("rate", scale.dense["rate"] * limits.max_size / scale.dense["size"]))
    else:
        bounds.append(("size", limits.max_size))
    for name, limit in bounds:
        if limit is not None and name not in found:
            return None
        if limit is not None:
            found[name] = min(found[name], scale.coordinate(name, limit))
    if "accuracy" in found:
        found["accuracy"] = min(found["accuracy"], scale.coordinate("accuracy", scale.chance + NEAR_CHANCE))
    return list(found.values())


class EhviSampler(BaseSampler):
    """Optuna's interface; what it does not ask of the study it asks of ``outlook``. ``among``: the only points there are, where they are few."""

    among: Sequence[Mapping[str, Any]] = ()

    def __init__(self, space: Space, outlook: Outlook) -> None:
        self.space, self.outlook, self.scale, self.domains = space, outlook, outlook.scale, space.draws()
        self._random, self._start = np.random.default_rng(space.file.seed), RandomSampler(seed=space.file.seed)
        self._surrogate, self._where = Surrogate(), dict[int, list[float]]()

    def reseed_rng(self) -> None:
        """Other points than a copy's."""
        self._random = np.random.default_rng()
        self._start.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every knob; a trial asks for those that it has."""
        every = {name: distribution(domain) for name, domain in self.domains.items()}
        return {name: one for name, one in every.items() if not one.single()}

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, wanted: BaseDistribution) -> Any:
        """At random, before a model is asked."""
        return self._start.sample_independent(study, trial, name, wanted)

    def sample_relative(self, study: Study, trial: FrozenTrial, wanted: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The best candidate; nothing while too little is known."""
        known, vectors, running = self._known(study.get_trials(deepcopy=False))
        if len(known) < _START:
            return {}
        limits = np.array(corner(self.scale, self.space.file.constraints) or self.scale.reference)
        beyond = np.maximum(vectors - limits, 0.0).sum(1)
        if not (vectors < limits).all(1).any():  # nothing is of use yet: what is nearer to it than all before is
            limits = np.maximum(limits, vectors[np.argmin(beyond)])
        candidates = self._candidates([known[i] for i in np.flatnonzero(front_mask(vectors))])
        worth = self._worth(known, vectors, running, np.array([self._place(draws) for draws in candidates]), limits)
        best = candidates[int(np.argmax(worth))]
        return {name: value for name, value in best.items() if name in wanted}

    def _known(self, trials: Sequence[FrozenTrial]) -> tuple[list[dict[str, Any]], Points, list[dict[str, Any]]]:
        """Draws and coordinates of trials of which something is known, and draws of those of which nothing is yet."""
        ends, known, vectors, running = self.outlook.ends(), [], [], []
        for trial in trials:
            heading = ends.get(trial.user_attrs.get("trial_id", ""))
            if trial.state is TrialState.FAIL and trial.user_attrs.get("end") in ("failed", "refused"):
                heading = self.scale.reference
            elif heading is None and trial.state is TrialState.COMPLETE:
                heading = self.scale.coordinates(dict(zip(self.scale.objectives, trial.values, strict=True)))
            if heading is not None:
                known.append(trial.params)
                vectors.append(heading)
            elif trial.state is TrialState.RUNNING and trial.params:
                running.append(trial.params)
        low, high = np.zeros(1), np.full(1, 1.2)
        return known[-_LATEST:], np.clip(np.array(vectors[-_LATEST:], dtype=float), low, high), running

    def _worth(
        self,
        known: Sequence[Mapping[str, Any]],
        vectors: Points,
        running: Sequence[Mapping[str, Any]],
        at: Points,
        limits: Points,
    ) -> Points:
        """(n,) expected improvement of the hypervolume at ``at``, (n, d)."""
        bent = self._bend(vectors)
        self._surrogate.fit(np.array([self._place(draws) for draws in known]), bent)
        if running:
            bent = np.vstack([bent, self._surrogate.believe(np.array([self._place(draws) for draws in running]))])
        front = self._straight(bent)
        front = front[front_mask(front)]
        means, spreads = self._surrogate.predict(at)
        count = _DRAWS[len(limits)]
        normal = self._random.standard_normal((count, 1, len(limits)))
        drawn = self._straight(means + spreads * normal).reshape(-1, len(limits))
        return improvement(front, drawn, limits.tolist()).reshape(count, -1).mean(0)

    def _candidates(self, best: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if self.among:
            return [dict(draws) for draws in self.among]
        found = [self._drawn({}) for _ in range(_CANDIDATES)]
        picked = self._random.integers(len(best), size=_NEIGHBOURS)
        return found + [self._drawn(best[number]) for number in picked]

    def _drawn(self, near: Mapping[str, Any]) -> dict[str, Any]:
        """A point at random, or near another one: half of its knobs a little moved."""
        draws: dict[str, Any] = {}

        def draw(name: str, domain: Float | Int | Categorical) -> Any:
            draws[name] = self._value(domain, near.get(name))
            return draws[name]

        self.space.point(draw)
        return draws

    def _value(self, domain: Float | Int | Categorical, near: Any) -> Any:
        if near is not None and self._random.random() < 0.5:
            return near
        if isinstance(domain, Categorical):
            return domain.choices[self._random.integers(len(domain.choices))]
        share = self._random.random() if near is None else domain.share(near) + _STEP * self._random.standard_normal()
        return domain.at(share)

    def _place(self, draws: Mapping[str, Any]) -> list[float]:
        return place(self.domains, draws)

    def _bend(self, vectors: Points) -> Points:
        """The root of what is lost in accuracy, which most trials crowd at 0 of; sizes are logarithms already."""
        bent = vectors.copy()
        bent[:, self._lost] = np.sqrt(np.maximum(bent[:, self._lost], 0.0))
        return bent

    def _straight(self, bent: Points) -> Points:
        straight = np.maximum(bent, 0.0)
        straight[..., self._lost] **= 2
        return straight

    @property
    def _lost(self) -> list[int]:
        return [number for number, name in enumerate(self.scale.objectives) if name == "accuracy"]
