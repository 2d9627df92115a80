"""One network, and the reason, on fronts whose answer can be seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.choice import Limits, NothingFits, choose, named
from analysis.studies import BadStudy
from tests.analysis.filled import front_of, full_record

FRONT = front_of((0.95, 40_000), (0.94, 9000), (0.80, 7000), (0.30, 2000))


def chosen(front=FRONT, **limits):
    return choose(full_record(front=front), Limits(**limits))


@pytest.mark.parametrize(
    ("limits", "number", "reason"),
    [
        ({"min_accuracy": 0.9}, 2, "the smallest of 2 with an accuracy of at least 0.9"),
        ({"min_accuracy": 0.94}, 2, "the smallest of 2 with an accuracy of at least 0.94"),
        ({"max_size": 8000}, 3, "the most accurate of 2 with at most 8,000 bytes"),
        ({"max_gops": 9e-4}, 2, "the most accurate of 3 with at most 0.0009 GOps"),
        (
            {"min_accuracy": 0.5, "max_size": 9000},
            2,
            "the most accurate of 2 with an accuracy of at least 0.5 and at most 9,000 bytes",
        ),
        ({"knee": True}, 2, "the knee of 4 networks: farthest above the line between the ends"),
        (
            {"knee": True, "max_size": 7000},
            3,
            "the knee of 2 with at most 7,000 bytes: farthest above the line between the ends",
        ),
    ],
)
def test_limits_and_the_network_they_ask_for(limits, number, reason):
    choice = chosen(**limits)
    assert (choice.number, choice.reason) == (number, reason)


def test_another_objective_than_size_is_the_cost_that_counts():
    front = front_of((0.95, 100), (0.94, 300), gops=[0.5, 0.1])
    record = full_record(objectives={"accuracy": "max", "gops": "min"}, front=front)
    choice = choose(record, Limits(min_accuracy=0.9))
    assert (choice.number, choice.reason) == (2, "the one of least gops of 2 with an accuracy of at least 0.9")


@pytest.mark.parametrize(
    ("limits", "near"),
    [
        ({"min_accuracy": 0.99}, "t0-e002: accuracy 95.00%, 40,000 bytes"),
        ({"max_size": 1000}, "t3-e002: accuracy 30.00%, 2,000 bytes"),
        ({"min_accuracy": 0.95, "max_size": 8999}, "t1-e002: accuracy 94.00%, 9,000 bytes"),
    ],
)
def test_where_nothing_fits_the_nearest_is_named(limits, near):
    with pytest.raises(NothingFits) as caught:
        chosen(**limits)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("no network of first has ")
    assert f"nearest is {near}" in line


def test_what_other_seeds_made_of_it_is_said():
    front = FRONT.assign(on_front=[0.2, 1.0, 0.9, 0.8])
    assert chosen(front, min_accuracy=0.95).line.startswith(
        "first t0-e002: accuracy 95.00% (test 50.00%), 40,000 bytes, 2.0x smaller, 0.004 GOps, "
        "on the front by other seeds in 20% of draws; the smallest of 1"
    )


def test_a_program_gets_plain_json_without_what_is_missing():
    front = FRONT.assign(test_accuracy=np.nan)
    plain = json.loads(json.dumps(chosen(front, max_size=8000).plain()))
    assert (plain["study"], plain["point"], plain["number"]) == ("first", "t2-e002", 3)
    assert plain["artifact_uri"] == "runs:/run-first/artifacts/t2-e002.rf"
    assert plain["metrics"]["size"] == 7000
    assert not {"test_accuracy", "on_front"} & set(plain["metrics"])
    assert plain["config"]["bits"] == 4
    assert "end" not in plain["config"]


def test_a_network_without_a_file_is_named_by_trial_and_epoch():
    assert named(FRONT.assign(artifact=np.nan).iloc[1]) == "t1-e002"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Limits(), "pick: give --min-accuracy, --max-size, --max-gops or --knee"),
        (lambda: chosen(FRONT.head(0), knee=True), "study = 'first': its front is empty"),
    ],
)
def test_what_cannot_be_answered_is_one_line(call, message):
    with pytest.raises(BadStudy, match=message):
        call()
