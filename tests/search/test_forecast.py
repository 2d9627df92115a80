"""Forecasts where the answer is known: gains that hang on the knobs alone, or on how far a trial is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.forecast import Forecast, place
from search.rungs import Ladder
from search_spaces.domains import Categorical, Float, Int
from search_spaces.sections import Rungs

NUMBERS = st.floats(-1, 2, allow_nan=False)


@given(st.lists(NUMBERS, min_size=1, max_size=3), st.lists(NUMBERS, max_size=4))
@settings(deadline=None)
def test_what_nothing_is_known_of_stays_where_it_is(vector, where):
    forecast = Forecast([1, 3, 9], 3)
    for number in range(2):
        forecast.record(f"t{number}", 1, where, vector)
        forecast.record(f"t{number}", 9, where, [x / 2 for x in vector])
    assert forecast.heading(1, where, vector) == vector
    assert forecast.heading(9, where, vector) == vector


def test_gains_are_those_of_trials_alike():
    """One method shrinks by 0.3 from the first rung to the second and as much again to the end, the other by nothing."""
    forecast = Forecast([1, 3, 9], 3)
    for number in range(20):
        kind, start = number % 2, 0.5 + number / 100
        for step, epoch in enumerate((1, 3, 9)):
            forecast.record(f"t{number}", epoch, [kind, 1 - kind], [0.1, start - 0.3 * kind * step])
    assert forecast.heading(1, [1, 0], [0.1, 0.6]) == pytest.approx([0.1, 0.0], abs=0.02)
    assert forecast.heading(3, [1, 0], [0.1, 0.3]) == pytest.approx([0.1, 0.0], abs=0.02)
    assert forecast.heading(1, [0, 1], [0.1, 0.6]) == pytest.approx([0.1, 0.6], abs=0.02)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_steps_that_nobody_went_add_nothing(objectives):
    forecast = Forecast([1, 3, 9], 2)
    for number in range(4):
        for epoch, value in ((1, 0.8), (3, 0.6)):
            forecast.record(f"t{number}", epoch, [number / 4], [value] * objectives)
    assert forecast.heading(1, [0.1], [0.8] * objectives) == pytest.approx([0.6] * objectives)
    assert forecast.heading(3, [0.1], [0.6] * objectives) == [0.6] * objectives


def test_ends_are_where_all_trials_are_heading():
    """From the last rung that each came to; what ended stays as it was."""
    random = np.random.default_rng(0)
    forecast = Forecast([1, 3, 9], 3)
    for number in range(12):
        where, value = [number / 12], 0.5 + 0.5 * random.random()
        for step, epoch in enumerate((1, 3, 9)[: 3 - number % 3]):
            forecast.record(f"t{number}", epoch, where, [value - 0.2 * step, value])
    ends = forecast.ends()
    assert set(ends) == {f"t{number}" for number in range(12)}
    for number in range(12):
        epoch = (9, 3, 1)[number % 3]
        heading = forecast.heading(epoch, [number / 12], forecast._known[epoch][f"t{number}"])
        assert ends[f"t{number}"] == pytest.approx(heading, abs=1e-6)
        assert epoch < 9 or ends[f"t{number}"] == forecast._known[9][f"t{number}"]
    assert Forecast([1, 9], 3).ends() == {}


def test_it_learns_from_a_tenth_more():
    """Trees of ten trials are kept for the eleventh, and grown anew for the twelfth."""
    forecast = Forecast([1, 9], 10)

    def headed(number):
        forecast.record(f"t{number}", 1, [0.5], [0.5])
        forecast.record(f"t{number}", 9, [0.5], [0.5 - 0.1 * (number >= 10)])
        return forecast.heading(1, [0.5], [0.5])[0]

    assert [headed(number) for number in range(11)] == [0.5] * 11
    assert headed(11) == pytest.approx(0.5 - 0.1 * 2 / 12)


def test_a_place_has_an_axis_a_choice_and_what_is_absent_lies_outside():
    domains = {
        "kind": Categorical(type="categorical", choices=["a", "b"]),
        "rate": Float(type="float", low=1e-4, high=1e-2, log=True),
        "bits": Int(type="int", low=2, high=6),
    }
    assert place(domains, {"kind": "b", "rate": 1e-3, "bits": 5}) == pytest.approx([0, 1, 0.5, 0.75])
    assert place(domains, {"bits": 2}) == [0, 0, -0.5, 0]


def test_a_rung_judges_by_where_trials_are_heading(tmp_path):
    """What is worst at the rung and will be best goes on, once three such trials were seen to their ends; killed, it knows."""

    def shown(ladder):
        for number in range(6):
            falls = number % 2
            for epoch, value in ((1, 0.6 + 0.05 * falls), (4, 0.6 - 0.5 * falls)):
                ladder.judge(f"t{number}", epoch, [value, value], True, [float(falls)])
        return ladder

    rungs = Rungs(grace=1, factor=3)
    ladder = shown(Ladder(rungs, 2, tmp_path / "plain.jsonl"))
    assert not ladder.judge("late", 1, [0.7, 0.7]), "as it is, it is the worst"
    path = tmp_path / "rungs.jsonl"
    for ladder in (shown(Ladder(Rungs(grace=1, factor=4), 4, path)), Ladder(Rungs(grace=1, factor=4), 4, path)):
        assert ladder.told("t5", 4)
        assert ladder.sizes() == {1: 6}
        assert ladder._forecast.heading(1, [1.0], [0.65, 0.65]) == pytest.approx([0.1, 0.1])
    assert ladder.judge("falls", 1, [0.7, 0.7], True, [1.0])
    assert not ladder.judge("stays", 1, [0.7, 0.7], True, [0.0])


def test_numbers_that_are_none_are_not_learnt_from(tmp_path):
    ladder = Ladder(Rungs(grace=1, factor=2), 4)
    assert ladder.judge("t0", 1, [float("nan"), 0.1], True, [0.5])
    assert ladder.sizes() == {1: 0, 2: 0}
    assert np.isfinite(ladder._forecast.heading(1, [0.5], [0.1, 0.1])).all()
