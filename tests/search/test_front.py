from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from search.front import Front, Member

FIELDS = {"trial_id", "epoch", "accuracy", "test_accuracy", "rate", "size_bytes", "gops", "rel_bops", "config"}


def member(trial_id, accuracy, size, **config):
    metrics = {"epoch": 3, "accuracy": accuracy, "rate": size / 100, "size": size, "ratio": 8.0, "gops": 0.5}
    metrics |= {"rel_bops": 0.1, "dead_zone": 0.25}
    return Member(trial_id=trial_id, epoch=3, metrics=metrics, config=config, artifact=f"artifacts/{trial_id}-e003.rf")


@pytest.fixture
def front():
    members = [member("a", 0.9, 500, bits=8), member("b", 0.8, 200, bits=4, depth="x, y")]
    return Front(members, {"accuracy": "max", "rate": "min"}, {"accuracy": 0.95}, Path("study"))


def test_a_front_is_a_sequence_of_its_members(front):
    assert len(front) == 2
    assert [m.trial_id for m in front] == ["a", "b"]
    assert front[-1].trial_id == "b"
    assert front.members[0] in front


def test_json_is_a_list_with_the_fields_that_are_promised(front):
    rows = json.loads(front.json())
    assert isinstance(rows, list)
    for row, size in zip(rows, (500, 200), strict=True):
        assert FIELDS | {"artifact"} <= set(row)
        assert (row["size_bytes"], row["rate"]) == (size, size / 100)
        assert "size" not in row
    assert rows[0]["config"] == {"bits": 8}
    assert rows[0]["dead_zone"] == 0.25
    assert rows[0]["artifact"] == "artifacts/a-e003.rf"


def test_nobody_has_a_test_accuracy_before_the_test(front):
    assert [row["test_accuracy"] for row in json.loads(front.json())] == [None, None]


def test_tested_gives_each_artifact_its_own(front):
    tested = front.tested({"artifacts/b-e003.rf": 0.7, "artifacts/a-e003.rf": 0.85})
    assert [m.test_accuracy for m in tested] == [0.85, 0.7]
    assert [m.test_accuracy for m in front] == [None, None]
    assert [row["test_accuracy"] for row in json.loads(tested.json())] == [0.85, 0.7]


def test_csv_has_a_line_a_member_and_a_column_a_knob(front):
    rows = list(csv.DictReader(io.StringIO(front.csv())))
    assert [(r["trial_id"], r["size_bytes"], r["bits"], r["depth"]) for r in rows] == [
        ("a", "500", "8", ""),
        ("b", "200", "4", "x, y"),
    ]
    assert FIELDS - {"config"} <= set(rows[0])


def test_csv_says_what_other_seeds_reached_where_some_were_tried(front):
    again = {"seeds": 3, "on_front": 0.4, "luck": True, "accuracy": {"mean": 0.88, "std": 0.01}}
    members = [replace(front[0], repeats=again), front[1]]
    rows = list(csv.DictReader(io.StringIO(replace(front, members=members).csv())))
    names = ("seeds", "seeds_accuracy", "seeds_std", "on_front")
    assert [[row[name] for name in names] for row in rows] == [["3", "0.88", "0.01", "0.4"], [""] * 4]
    assert not set(names) & set(csv.DictReader(io.StringIO(front.csv())).fieldnames)


def test_an_empty_front_has_its_files_too():
    front = Front([], {}, {}, Path("study"))
    assert json.loads(front.json()) == []
    assert front.csv().startswith("trial_id,epoch,accuracy")
