"""BD-rate: how much cheaper one front is than another at equal accuracy, on average (Bjøntegaard, VCEG-M33, 2001).

Both are drawn as log10(cost) over accuracy, interpolated by monotone cubics (PCHIP), and integrated over the accuracies that both
reach. 10 to the mean difference, less 1: -0.2 is 20 % less cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from analysis.pareto import front_mask

__all__ = ["bd_rate", "overlap"]

Floats = NDArray[np.float64]


def bd_rate(ours: Floats, theirs: Floats, floor: float = 0.0) -> float:
    """Of two sets of networks, (n, 2) as accuracy and cost above 0; only what is on their fronts counts.

    ``floor``: accuracies below it are of no interest. NaN where fewer than two accuracies are common.
    """
    low, high = overlap([ours, theirs], floor)
    if not low < high:
        return float("nan")
    means = [float(_curve(front).integrate(low, high)) / (high - low) for front in (ours, theirs)]
    return float(10 ** (means[0] - means[1]) - 1)


def overlap(fronts: Sequence[Floats], floor: float = 0.0) -> tuple[float, float]:
    """(low, high) of the accuracies that all fronts reach; low >= high where there are none."""
    reached = [_front(front)[:, 0] for front in fronts]
    if any(len(accuracies) < 2 for accuracies in reached):
        return 1.0, 0.0
    return float(max([floor, *(a[0] for a in reached)])), float(min(a[-1] for a in reached))


def _front(points: Floats) -> Floats:
    """The front of accuracy and cost, the least accurate first."""
    kept = points[front_mask(points * [-1.0, 1.0])] if len(points) else points.reshape(0, 2)
    return kept[np.argsort(kept[:, 0])]


def _curve(points: Floats) -> PchipInterpolator:
    accuracy, cost = _front(points).T
    return PchipInterpolator(accuracy, np.log10(cost))
