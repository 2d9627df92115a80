"""Ranks and fronts against brute force, hypervolume against moocore, scales against their formulas."""

from __future__ import annotations

import math

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.pareto import Scale, front_chances, front_mask, hypervolume, ranks

COARSE = st.integers(0, 4).map(float)  # few values, so that points are often equal or tie in one objective
FINE = st.one_of(st.floats(0, 1.5, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]))
DENSE = {"accuracy": 0.9, "size": 1000, "rate": 32.0, "ratio": 1.0, "gops": 0.5, "rel_bops": 1.0}


def point_sets(elements, dimensions=(2, 3)):
    shape = st.tuples(st.integers(0, 12), st.sampled_from(dimensions))
    return shape.flatmap(lambda s: arrays(np.float64, s, elements=elements))


def dominates(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def level(points, i):
    """Length of the longest chain of points that each dominate the next, ending at ``i``."""
    return max((1 + level(points, j) for j in range(len(points)) if dominates(points[j], points[i])), default=0)


@given(point_sets(COARSE))
def test_front_mask_marks_what_nothing_dominates_and_the_first_of_equals(points):
    rows = [tuple(p) for p in points]
    expected = [not any(dominates(q, p) for q in rows) and p not in rows[:i] for i, p in enumerate(rows)]
    assert front_mask(points).tolist() == expected


@given(point_sets(COARSE))
def test_ranks_are_the_lengths_of_chains_of_domination(points):
    assert ranks(points).tolist() == [level(points, i) for i in range(len(points))]


@given(point_sets(FINE))
def test_hypervolume_is_that_of_moocore(points):
    reference = [1.0, 1.25, 0.75][: points.shape[1]]
    expected = moocore.hypervolume(points, ref=reference) if len(points) else 0.0
    assert hypervolume(points, reference) == pytest.approx(expected, abs=1e-12)


@given(point_sets(FINE), st.randoms())
def test_hypervolume_does_not_depend_on_order_or_repetition(points, random):
    reference = [1.0] * points.shape[1]
    mixed = [*points, *points]
    random.shuffle(mixed)
    again = hypervolume(np.array(mixed).reshape(-1, points.shape[1]), reference)
    assert again == pytest.approx(hypervolume(points, reference), abs=1e-12)


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([(0.5, 0.5)], (1, 1), 0.25),
        ([(0.5, 0.5), (0.5, 0.5)], (1, 1), 0.25),
        ([(0.25, 0.75), (0.75, 0.25)], (1, 1), 0.3125),
        ([(1.0, 0.0)], (1, 1), 0.0),
        ([(2.0, 0.0), (0.5, 0.5)], (1, 1), 0.25),
        ([(0.0, 0.0, 0.0)], (1, 1, 1), 1.0),
        ([(0.5, 0.5, 0.5), (0.0, 0.0, 0.9)], (1, 1, 1), 0.125 + 0.1 - 0.25 * 0.1),
    ],
)
def test_hypervolumes_worked_by_hand(points, reference, volume):
    assert hypervolume(np.array(points), reference) == pytest.approx(volume)


@pytest.mark.parametrize("dimensions", [1, 4])
def test_other_numbers_of_objectives_are_refused(dimensions):
    with pytest.raises(ValueError, match="2 or 3 are supported"):
        hypervolume(np.zeros((1, dimensions)), [1.0] * dimensions)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accuracy", 0.9, 0.0),
        ("accuracy", 0.5, 0.5),
        ("accuracy", 0.1, 1.0),
        ("accuracy", 0.95, 0.0),
        ("accuracy", 0.0, 1.0),
        ("size", 1000, 1.0),
        ("size", 100, 2 / 3),
        ("size", 1, 0.0),
        ("size", 0.1, 0.0),
        ("size", 5000, 1.0),
        ("size", 0, 0.0),
        ("rate", 3.2, 2 / 3),
        ("gops", 0.05, 2 / 3),
        ("rel_bops", 0.01, 1 / 3),
        ("ratio", 1.0, 1.0),
        ("ratio", 10.0, 2 / 3),
        ("ratio", 1e6, 0.0),
        ("sparsity", 0.75, 0.25),
    ],
)
def test_scales(name, value, expected):
    scaled = Scale([name], DENSE, 0.1)({name: value})
    assert scaled.tolist() == pytest.approx([expected])


def test_a_dense_network_no_better_than_chance_still_has_a_scale():
    scale = Scale(["accuracy", "size"], {"accuracy": 0.1, "size": 1000}, 0.1)
    assert scale({"accuracy": 0.1, "size": 1000}).tolist() == [0.0, 1.0]
    assert scale({"accuracy": 0.05, "size": 1000}).tolist() == [1.0, 1.0]


def test_hypervolume_of_networks():
    scale = Scale(["accuracy", "size"], DENSE, 0.1)
    assert scale.reference == [1.0, 1.0]
    assert scale.hypervolume([]) == 0.0
    one = {"accuracy": 0.9, "size": 100}
    assert scale.hypervolume([one]) == pytest.approx(1 / 3)
    two = {"accuracy": 0.5, "size": 10}
    assert scale.hypervolume([one, two]) == pytest.approx(1 / 3 + 0.5 * (2 / 3 - 1 / 3))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1e-3, 1e5)), max_size=8))
def test_hypervolume_of_networks_lies_between_0_and_1(pairs):
    scale = Scale(["accuracy", "size"], DENSE, 0.1)
    volume = scale.hypervolume([{"accuracy": a, "size": s} for a, s in pairs])
    assert 0.0 <= volume <= 1.0
    assert math.isfinite(volume)


@given(point_sets(FINE))
def test_the_front_is_that_of_moocore(points):
    different = np.unique(points, axis=0)
    expected = moocore.is_nondominated(different) if len(different) else []
    assert front_mask(different).tolist() == list(expected)


def test_points_whose_sums_are_equal_to_the_last_bit_are_told_apart():
    points = np.array([[1e16, 1.0], [1e16, 0.5], [1e16, 0.25]])
    assert front_mask(points).tolist() == [False, False, True]


def test_chances_of_what_was_measured_without_spread_are_certain():
    ones = [np.array([[0.2, 0.8]] * 3), np.array([[0.8, 0.2]] * 2), np.array([[0.9, 0.9]] * 3), np.empty((0, 2))]
    assert front_chances(ones, draws=50).tolist() == [1, 1, 0, 0]


def test_chances_of_a_close_call_lie_between_and_are_repeatable():
    close = [np.array([[0.1, 0.5], [0.3, 0.5]]), np.array([[0.15, 0.5], [0.25, 0.5]])]
    found = front_chances(close)
    assert ((found > 0.2) & (found < 0.8)).all()
    assert front_chances(close).tolist() == found.tolist()
    assert front_chances([]).tolist() == []


def test_networks_of_one_training_are_drawn_together():
    """The first is better in every training, though trainings differ by more: apart they seem alike, together they do not."""
    base = np.linspace(0.0, 1.0, 6)
    better, worse = (np.stack([base + d, base + d], 1) for d in (0.0, 0.01))
    apart, together = front_chances([better, worse]), front_chances([better, worse], ["t", "t"])
    assert together.tolist() == [1, 0]
    assert 0.3 < apart[1] < 0.6
    assert front_chances([better, worse[:5]], ["t", "t"]).min() > 0
