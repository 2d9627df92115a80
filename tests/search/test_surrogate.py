"""The Gaussian processes where the function is known."""

from __future__ import annotations

import numpy as np
import pytest

from search.surrogate import Surrogate


def known(places):
    """Two smooth values; the last knob changes nothing."""
    return np.column_stack([np.sin(3 * places[:, 0]) + places[:, 1] ** 2, 3 * places[:, 1] - places[:, 0]])


@pytest.fixture
def places():
    return np.random.default_rng(0).random((40, 3))


@pytest.fixture
def fitted(places):
    surrogate = Surrogate()
    surrogate.fit(places, known(places), len(places))
    return surrogate


def test_it_knows_what_lies_between(fitted):
    between = np.random.default_rng(1).random((200, 3)) * 0.8 + 0.1
    means, spreads = fitted.predict(between)
    assert means.shape == spreads.shape == (200, 2)
    assert np.abs(means - known(between)).max() < 0.1 * np.ptp(known(between), axis=0).min()


def test_it_is_surer_of_what_it_saw_than_of_what_lies_outside(fitted, places):
    seen, outside = fitted.predict(places)[1], fitted.predict(places + 2.0)[1]
    assert (seen.max(0) < 0.2 * outside.min(0)).all()


def test_what_is_believed_changes_no_mean_and_leaves_less_doubt(fitted):
    there = np.array([[0.9, 0.9, 0.9], [-0.3, 1.3, 0.5]])
    means, spreads = fitted.predict(there)
    believed = fitted.believe(there)
    after, doubt = fitted.predict(there)
    assert believed == pytest.approx(means)
    assert after == pytest.approx(means, abs=1e-2)
    assert (doubt < spreads).all()


def test_lengths_are_learnt_anew_from_15_percent_more(places):
    surrogate = Surrogate()
    lengths = []
    for count in (20, 22, 23, 24):
        surrogate.fit(places[:count], known(places[:count]), count)
        lengths.append([kernel.k1.k2.length_scale.tolist() for kernel in surrogate._kernels])
    assert lengths[0] == lengths[1] == lengths[2] != lengths[3]


def test_three_points_do_not_make_a_knob_count_for_nothing():
    """By likelihood alone two trials of equal values make the knob that they differ in irrelevant, and the model sure far from all three."""
    surrogate = Surrogate()
    places = np.array([[0.0, 0.0], [0.05, 1.0], [1.0, 0.5]])
    surrogate.fit(places, np.array([[0.1, 0.9], [0.1, 0.9], [0.8, 0.2]]), 3)
    for kernel in surrogate._kernels:
        assert kernel.k1.k2.length_scale[1] < 2.5
    assert (surrogate.predict(np.array([[0.0, 0.5]]))[1] > 0.02).all()


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_values_that_are_all_alike_are_expected_everywhere(places, constant):
    surrogate = Surrogate()
    surrogate.fit(places[:6], np.full((6, 2), constant), 6)
    means, spreads = surrogate.predict(places)
    assert means == pytest.approx(np.full((40, 2), constant), abs=1e-6)
    assert np.isfinite(spreads).all()
