"""BD-rate against numerical integration of a curve of our own, and its laws."""

from __future__ import annotations

import bisect
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.bdrate import bd_rate, overlap

FRONT = np.array([(0.60, 1000.0), (0.75, 1500.0), (0.85, 2600.0), (0.90, 5200.0), (0.92, 9000.0)])


def slopes(x, y):
    """Of the monotone cubic by Fritsch and Butland 1984, as PCHIP has them."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    inner = []
    for i in range(1, len(x) - 1):
        w1, w2 = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
        inner.append((w1 + w2) / (w1 / d[i - 1] + w2 / d[i]) if d[i - 1] * d[i] > 0 else 0.0)
    return [_end(h[:2], d[:2]), *inner, _end(h[::-1][:2], d[::-1][:2])]


def _end(h, d):
    if len(d) == 1:
        return d[0]
    slope = ((2 * h[0] + h[1]) * d[0] - h[0] * d[1]) / (h[0] + h[1])
    if slope * d[0] <= 0:
        return 0.0
    return 3 * d[0] if d[0] * d[1] < 0 and abs(slope) > 3 * abs(d[0]) else slope


def value(x, y, m, at):
    """Of the cubic Hermite curve through the points with these slopes."""
    i = min(max(bisect.bisect_right(x, at) - 1, 0), len(x) - 2)
    h = x[i + 1] - x[i]
    t = (at - x[i]) / h
    return (
        y[i] * (1 + 2 * t) * (1 - t) ** 2
        + m[i] * h * t * (1 - t) ** 2
        + y[i + 1] * t * t * (3 - 2 * t)
        + m[i + 1] * h * t * t * (t - 1)
    )


def numerically(ours, theirs, low, high, steps=20_000):
    """Midpoints, thousands of them."""
    means = []
    for points in (ours, theirs):
        x, y = [a for a, _ in points], [math.log10(c) for _, c in points]
        m = slopes(np.array(x), np.array(y))
        marks = [low + (high - low) * (k + 0.5) / steps for k in range(steps)]
        means.append(sum(value(x, y, m, at) for at in marks) / steps)
    return 10 ** (means[0] - means[1]) - 1


@pytest.mark.parametrize(
    "other",
    [
        FRONT * [1.0, 0.8],
        np.array([(0.55, 700.0), (0.80, 2500.0), (0.91, 4000.0)]),
        np.array([(0.70, 900.0), (0.88, 5000.0)]),
        np.array([(0.3, 10.0), (0.62, 1400.0), (0.63, 1500.0), (0.87, 1600.0), (0.99, 50_000.0)]),
    ],
)
def test_as_integrated_numerically(other):
    low, high = max(FRONT[0, 0], other[0, 0]), min(FRONT[-1, 0], other[-1, 0])
    assert overlap([FRONT, other]) == (low, high)
    assert bd_rate(other, FRONT) == pytest.approx(numerically(other, FRONT, low, high), abs=1e-6)


@given(st.floats(0.1, 10))
def test_a_front_that_costs_a_factor_of_another_has_that_rate(factor):
    assert bd_rate(FRONT * [1.0, factor], FRONT) == pytest.approx(factor - 1)


@given(st.permutations(range(len(FRONT))))
def test_order_and_dominated_networks_do_not_count(order):
    worse = np.array([(0.74, 2000.0), (0.60, 1000.0)])
    assert bd_rate(np.vstack([FRONT[order], worse]), FRONT * [1.0, 2.0]) == pytest.approx(-0.5)


points = st.lists(st.tuples(st.floats(0.2, 1), st.floats(10, 1e6)), min_size=2, max_size=8).map(np.array)


@given(points, points)
def test_the_other_way_round_it_is_the_inverse(ours, theirs):
    rate = bd_rate(ours, theirs)
    assume(not math.isnan(rate))
    assert (1 + rate) * (1 + bd_rate(theirs, ours)) == pytest.approx(1)


def test_accuracies_below_the_floor_do_not_count():
    other = FRONT * [1.0, 0.5]
    other[2:, 1] = FRONT[2:, 1]  # a slope knows its neighbours
    assert bd_rate(other, FRONT) < -0.2
    assert bd_rate(other, FRONT, floor=0.9) == pytest.approx(0)


@pytest.mark.parametrize(
    "other",
    [np.empty((0, 2)), FRONT[:1], np.array([(0.3, 10.0), (0.5, 20.0)]), np.array([(0.92, 10.0), (0.99, 20.0)])],
    ids=["empty", "one", "all below", "one in common"],
)
def test_fronts_without_accuracies_in_common_have_none(other):
    assert math.isnan(bd_rate(other, FRONT))
    assert math.isnan(bd_rate(FRONT, other))
