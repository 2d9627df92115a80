"""Sampler ``ehvi``: the point that is expected to raise the hypervolume most, conditional knobs and stopped trials included.

Formula: x* = argmax_x E[HV(F + y(x)) - HV(F)], y the surrogate's (``surrogate``), F the front of what trials ended with or are heading for
(``forecast``), running ones included (Emmerich, Giannakoglou & Naujoks 2006, doi 10.1109/TEVC.2005.859463). Places are the unit cube's, a knob that
a trial does not have outside of it; the expectation is a mean over normal draws, the argmax over candidates: random ones, and neighbours of the
best known; of a method that was hardly tried, where there is one.
"""

from __future__ import annotations

from collections import Counter
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
from search.distributions import every_knob
from search.forecast import place
from search.surrogate import Surrogate
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.limits import Constraints
from search_spaces.several import METHOD

__all__ = ["EhviSampler", "Outlook", "corner", "improvement"]

Points = NDArray[np.float64]
Draws = Mapping[str, Any]

_START, _EACH = 3, 2  # trials known before a model is asked; tries of each kind before the model may leave it out
_LATEST, _REFUSED = 300, 20  # of more trials the latest are learnt from, and their front
_CANDIDATES, _NEIGHBOURS, _STEP = 1000, 250, 0.1
_DRAWS = {2: 64, 3: 32}
_CLIPPED = (0.0, 1.2)  # how much worse than chance, or larger than the dense network, teaches nothing


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
            below = inside[:number, :-1]
            total[reached] += depth * improvement(below[front_mask(below)], points[reached, :-1], reference[:-1])
    return total


def _kind(draws: Draws) -> tuple[Any, frozenset[str]]:
    """The method, where it is a knob, and which knobs there are."""
    return draws.get(METHOD), frozenset(draws)


def corner(scale: Scale, limits: Constraints) -> list[float] | None:
    """The worst coordinates of use: better than chance, and what the constraints allow; None where one is on what is no objective."""
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
    """Optuna's interface; what it does not ask of the study it asks of ``outlook``."""

    def __init__(self, space: Space, outlook: Outlook) -> None:
        self.space, self.outlook, self.scale, self.domains = space, outlook, outlook.scale, space.draws()
        self._seed, self._start, self._surrogate = space.file.seed, RandomSampler(seed=space.file.seed), Surrogate()

    def reseed_rng(self) -> None:
        """Other points than a copy's."""
        self._seed = int(np.random.default_rng().integers(2**32))
        self._start.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every knob; a trial asks for those that it has."""
        return every_knob(self.space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, wanted: BaseDistribution) -> Any:
        """At random, before a model is asked."""
        return self._start.sample_independent(study, trial, name, wanted)

    def sample_relative(self, study: Study, trial: FrozenTrial, wanted: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The best candidate; nothing while too little is known."""
        known, vectors, running, refused = self._known(study.get_trials(deepcopy=False))
        if len(known) < _START:
            return {}
        self._random = np.random.default_rng([self._seed, trial.number])  # resumed, it draws on
        limits = np.array(corner(self.scale, self.space.file.constraints) or self.scale.reference)
        if not (vectors <= limits).all(1).any():  # nothing is of use yet: what is nearer to it than all before is
            limits = np.maximum(limits, vectors[np.argmin(np.maximum(vectors - limits, 0.0).sum(1))])
        best, tried = [known[i] for i in np.flatnonzero(front_mask(vectors))], [*known, *running, *refused]
        candidates = self._rare(self._candidates(best, tried, trial.system_attrs.get("fixed_params", {})), tried)
        self._learn(known, vectors, refused)
        worth = self._worth(vectors, running, self._places(candidates), limits)
        chosen = candidates[int(np.argmax(worth))]
        return {name: value for name, value in chosen.items() if name in wanted}

    def _known(self, trials: Sequence[FrozenTrial]) -> tuple[list[Draws], Points, list[Draws], list[Draws]]:
        """Draws and coordinates of trials of which something is known; draws of those of which nothing is yet, and of the refused."""
        ends = self.outlook.ends()
        known, vectors, running, refused = list[Draws](), list[Sequence[float]](), list[Draws](), list[Draws]()
        for trial in trials:
            end, heading = trial.user_attrs.get("end"), ends.get(trial.user_attrs.get("trial_id", ""))
            if trial.state is TrialState.FAIL and end == "refused":
                refused.append(trial.params)
                continue
            if trial.state is TrialState.FAIL and end == "failed":
                heading = self.scale.reference
            elif trial.state is TrialState.COMPLETE and (heading is None or end == "done"):
                heading = self.scale.coordinates(dict(zip(self.scale.objectives, trial.values, strict=True)))
            if heading is not None:
                known.append(trial.params)
                vectors.append(heading)
            elif trial.state is TrialState.RUNNING and trial.params:
                running.append(trial.params)
        return known, np.clip(np.array(vectors, dtype=float), *_CLIPPED), running, refused

    def _learn(self, known: Sequence[Draws], vectors: Points, refused: Sequence[Draws]) -> None:
        """From the latest, the front, and where trials were refused as hopeless."""
        kept = np.union1d(np.arange(len(known))[-_LATEST:], np.flatnonzero(front_mask(vectors)))
        hopeless = list(refused[-_REFUSED:])
        values = np.array([*vectors[kept], *[self.scale.reference] * len(hopeless)])
        self._surrogate.fit(self._places([*(known[i] for i in kept), *hopeless]), self._bend(values), len(known))

    def _worth(self, vectors: Points, running: Sequence[Draws], at: Points, limits: Points) -> Points:
        """(n,) expected improvement of the hypervolume within the limits at ``at``, (n, d)."""
        front = vectors
        if running:
            front = np.vstack([front, self._straight(self._surrogate.believe(self._places(running)))])
        front = front[(front <= limits).all(1)]
        means, spreads = self._surrogate.predict(at)
        count = _DRAWS[len(limits)]
        normal = self._random.standard_normal((count, 1, len(limits)))
        drawn = self._straight(means + spreads * normal).reshape(-1, len(limits))
        gains, inside = np.zeros(len(drawn)), (drawn <= limits).all(1)
        reference = np.maximum(self.scale.reference, limits).tolist()
        gains[inside] = improvement(front[front_mask(front)], drawn[inside], reference)
        return gains.reshape(count, -1).mean(0)

    def _candidates(self, best: Sequence[Draws], tried: Sequence[Draws], fixed: Draws) -> list[dict[str, Any]]:
        """Random points and neighbours of the best, none that was tried before where there are others."""
        found = [self._drawn({}, fixed) for _ in range(_CANDIDATES)]
        found += [self._drawn(best[k], fixed) for k in self._random.integers(len(best), size=_NEIGHBOURS)]
        before = {frozenset(draws.items()) for draws in tried}
        return [draws for draws in found if frozenset(draws.items()) not in before] or found

    def _rare(self, candidates: list[dict[str, Any]], tried: Sequence[Draws]) -> list[dict[str, Any]]:
        """The candidates of kinds that were hardly tried, by refused trials too: one bad trial is enough for the model to leave a method
        out for good. All candidates where there are too many kinds for that."""
        if _EACH * len({_kind(draws) for draws in candidates}) > self.space.trials / 3:
            return candidates
        of_kind = Counter(_kind(draws) for draws in tried)
        return [draws for draws in candidates if of_kind[_kind(draws)] < _EACH] or candidates

    def _drawn(self, near: Draws, fixed: Draws) -> dict[str, Any]:
        """A point at random, or near another one: half of its knobs a little moved; with what is ``fixed``."""
        draws: dict[str, Any] = {}

        def draw(name: str, domain: Float | Int | Categorical) -> Any:
            draws[name] = fixed[name] if name in fixed else self._value(domain, near.get(name))
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

    def _places(self, points: Sequence[Draws]) -> Points:
        return np.array([place(self.domains, draws) for draws in points])

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
