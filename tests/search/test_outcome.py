from __future__ import annotations

import math

import pytest

from search.outcome import Outcome, outcome_of

LAST = {"epoch": 4, "accuracy": 0.9, "rate": 3.0}


@pytest.mark.parametrize(
    ("result", "error", "expected"),
    [
        (LAST, False, Outcome.DONE),
        ({**LAST, "epoch": 5}, False, Outcome.DONE),
        ({**LAST, "epoch": 3}, False, Outcome.STOPPED),
        ({**LAST, "accuracy": 1}, False, Outcome.DONE),
        (LAST, True, Outcome.FAILED),
        ({**LAST, "failed": True}, False, Outcome.FAILED),
        ({**LAST, "failed": False}, False, Outcome.DONE),
        ({**LAST, "accuracy": math.nan}, False, Outcome.FAILED),
        ({**LAST, "rate": math.inf}, False, Outcome.FAILED),
        ({**LAST, "rate": None}, False, Outcome.FAILED),
        ({"epoch": 4, "accuracy": 0.9}, False, Outcome.FAILED),
        ({}, False, Outcome.FAILED),
        (None, False, Outcome.FAILED),
    ],
)
def test_how_a_trial_ended(result, error, expected):
    assert outcome_of(result, error, 4, ["accuracy", "rate"]) is expected


def test_the_tags_of_the_record():
    assert [outcome.value for outcome in Outcome] == ["done", "stopped", "failed"]
