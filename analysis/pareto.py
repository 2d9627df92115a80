"""Fronts of points that are all minimised: ranks, hypervolume, and the scales that hypervolume is measured on.

A point dominates another where it is nowhere worse and somewhere better. numpy alone; nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR_CHANCE", "Scale", "front_chances", "front_mask", "hypervolume", "net_order", "ranks"]

NEAR_CHANCE = 0.05  # members of a front are better than guessing by this

Points = NDArray[np.float64]
_LEAST = 1e-6  # share of the dense value, below which all are alike


def front_mask(points: Points) -> NDArray[np.bool_]:
    """(n, m) -> (n,): which points no other dominates; of equal points the first alone."""
    if not len(points):
        return np.zeros(0, dtype=bool)
    left, place = np.lexsort(points.T[::-1]), 0  # what dominates a point comes before it, and of equals the first
    while place < len(left):
        chosen, rest = points[left[place]], points[left[place + 1 :]]
        left = np.concatenate([left[: place + 1], left[place + 1 :][~np.all(rest >= chosen, axis=1)]])
        place += 1
    mask = np.zeros(len(points), dtype=bool)
    mask[left] = True
    return mask


def ranks(points: Points) -> NDArray[np.int64]:
    """(n, m) -> (n,): 0 for the front, 1 for the front of what is left, and so on; equal points share a rank."""
    different, twin = np.unique(points, axis=0, return_inverse=True)
    result = np.full(len(different), -1, dtype=np.int64)
    rank = 0
    while len(left := np.flatnonzero(result < 0)):
        result[left[front_mask(different[left])]] = rank
        rank += 1
    return result[twin.reshape(-1)]


def front_chances(
    samples: Sequence[Points], trials: Sequence[str] | None = None, draws: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """How likely each of n networks, measured k_i times as (k_i, m), is really on their front, in [0, 1].

    Bootstrap: a draw takes k_i of a network's measurements with replacement, and its mean stands for it; the chance is the share of
    the draws in which no other mean dominates it. One that was never measured has none. Networks of one of the ``trials``
    were measured in the same trainings: a draw takes the same ones of all that have as many.
    """
    random, known = np.random.default_rng(seed), [i for i, rows in enumerate(samples) if len(rows)]
    trainings = [(trials[i] if trials else str(i), len(samples[i])) for i in known]
    chances = np.zeros(len(samples))
    for _ in range(draws if known else 0):
        drawn = {one: random.integers(one[1], size=one[1]) for one in dict.fromkeys(trainings)}
        means = np.array([samples[i][drawn[one]].mean(axis=0) for i, one in zip(known, trainings, strict=True)])
        no_worse = np.all(means[None] <= means[:, None], axis=2)
        better = np.any(means[None] < means[:, None], axis=2)
        chances[known] += ~np.any(no_worse & better, axis=1)
    return chances / draws


def net_order(points: Points, count: int | None = None) -> NDArray[np.int64]:
    """(n, m) -> indices of the first ``count`` points of the epsilon-net (Schmucker et al. 2021, arXiv 2106.12639).

    On axes scaled to the points' own span: the one nearest to the best corner first, then ever the one farthest from
    those taken before; of several alike the first.
    """
    low, span = points.min(0), np.ptp(points, axis=0)
    scaled = (points - low) / np.where(span > 0, span, 1.0)
    order = np.empty(min(count or len(points), len(points)), dtype=np.int64)
    distance = np.full(len(points), np.inf)
    chosen = int(np.argmin((scaled**2).sum(1)))
    for place in range(len(order)):
        order[place] = chosen
        distance = np.minimum(distance, ((scaled - scaled[chosen]) ** 2).sum(1))
        distance[chosen] = -1.0  # taken; a twin of it is still at 0
        chosen = int(np.argmax(distance))
    return order


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Volume between the points and ``reference`` in 2 or 3 dimensions; what is not below the reference adds nothing."""
    corner = np.asarray(reference, dtype=np.float64)
    if len(corner) not in (2, 3):
        raise ValueError(f"hypervolume of {len(corner)} objectives: 2 or 3 are supported")
    inside = points[(points < corner).all(1)] if len(points) else points
    if not len(inside):
        return 0.0
    inside = inside[front_mask(inside)]
    return _area(inside, corner) if len(corner) == 2 else _volume(inside, corner)


def _area(points: Points, corner: Points) -> float:
    """Sweep along x; each point that is lower than all before adds a rectangle up to the corner."""
    total, lowest = 0.0, float(corner[1])
    for x, y in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if y < lowest:
            total += float((corner[0] - x) * (lowest - y))
            lowest = float(y)
    return total


def _volume(points: Points, corner: Points) -> float:
    """Sweep along z; between two heights the section is the area of all points below."""
    heights = np.unique(points[:, 2])
    tops = np.append(heights[1:], corner[2])
    return sum(
        _area(points[points[:, 2] <= z][:, :2], corner[:2]) * float(top - z)
        for z, top in zip(heights, tops, strict=True)
    )


@dataclass(frozen=True)
class Scale:
    """Objectives scaled to [0, 1] by the dense network, 1 the worst: fixed at the start of a study.

    Accuracy: (dense accuracy - accuracy) / (dense accuracy - chance). Sizes, rates, GOps and BOPs: 1 + log10(value /
    dense value) / 3. Sparsity: 1 - sparsity.
    """

    objectives: Sequence[str]
    dense: Mapping[str, float]
    chance: float

    def __call__(self, metrics: Mapping[Any, float]) -> Points:
        """(m,) coordinates of one network, clipped to [0, 1]."""
        return np.clip(self.coordinates(metrics), 0.0, 1.0)

    def coordinates(self, metrics: Mapping[Any, float]) -> list[float]:
        """The same beyond the corners too: what is worse than chance, or larger than the dense network, keeps its order."""
        return [self.coordinate(name, float(metrics[name])) for name in self.objectives]

    @property
    def reference(self) -> list[float]:
        """The worst corner."""
        return [1.0] * len(self.objectives)

    def hypervolume(self, members: Sequence[Mapping[Any, float]]) -> float:
        """Hypervolume of networks, in [0, 1]."""
        return hypervolume(np.array([self(m) for m in members]).reshape(-1, len(self.objectives)), self.reference)

    def coordinate(self, name: str, value: float) -> float:
        """One of them."""
        dense = self.dense.get(name, 1.0)
        if name == "accuracy":
            return (dense - value) / max(dense - self.chance, 1e-9)
        if name == "sparsity":
            return 1 - value
        share = dense / value if name == "ratio" and value > 0 else value / dense
        return 1 + math.log10(max(share, _LEAST)) / 3
