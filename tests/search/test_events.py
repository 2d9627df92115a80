from __future__ import annotations

import io
import json
import math
import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.clock import Clock
from search.events import Events
from search.front import Front
from search.progress import Progress


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def events(stream):
    return Events(stream)


def lines(stream):
    """Every line read back, without its time."""
    read = [json.loads(line, parse_constant=refuse) for line in stream.getvalue().split("\n")[:-1]]
    return [{name: value for name, value in line.items() if name != "time"} for line in read]


@pytest.fixture
def watched(archive, events, stream, make_trial, report, ended):
    """A search of two trials: one done, the other diverged."""
    progress = Progress(archive, Clock(), 2, events)

    def both(hook, *arguments, **words):
        for callback in (archive, progress):
            getattr(callback, hook)(0, [], *arguments, **words)

    trial, last = make_trial("t1"), report(2, 0.91, 3.0)
    both("on_trial_start", trial)
    both("on_trial_result", trial, report(1, 0.9, 4.0, epoch_0=report(0, 0.5, 5.0)))
    both("on_trial_result", trial, last)
    both("on_trial_complete", ended(trial, last))
    trial, last = make_trial("t2", max_bits=7), {"epoch": 1, "failed": True, "reason": "loss is nan"}
    both("on_trial_start", trial)
    both("on_trial_start", trial)  # Ray restarted it
    both("on_trial_result", trial, last)
    both("on_trial_complete", ended(trial, last))
    return lines(stream)


def test_a_search_is_told_in_order(watched):
    told = [line["event"] for line in watched]
    first = ["trial_start", "epoch", "epoch", "front", "epoch", "front", "trial_end"]
    assert told == [*first, "trial_start", "trial_end"]


def test_a_trial_has_its_knobs_its_epochs_and_its_end(watched):
    mine = [line for line in watched if line.get("trial_id") == "t1"]
    assert mine[0]["config"] == {"max_bits": 4}
    assert [line["epoch"] for line in mine[1:-1]] == [0, 1, 2]
    assert [line["metrics"]["accuracy"] for line in mine[1:-1]] == [0.5, 0.9, 0.91]
    assert mine[1]["metrics"]["dead_zone"] == 0.25
    assert "epoch" not in mine[1]["metrics"]
    assert mine[-1] == {"event": "trial_end", "trial_id": "t1", "end": "done", "reason": ""}


def test_a_failed_trial_says_why(watched):
    assert watched[-1] == {"event": "trial_end", "trial_id": "t2", "end": "failed", "reason": "loss is nan"}


def test_the_front_is_told_when_it_changes(watched, archive):
    first, last = [line for line in watched if line["event"] == "front"]
    assert [m["epoch"] for m in first["members"]] == [1]
    assert [m["epoch"] for m in last["members"]] == [2]
    assert last["size"] == len(last["members"]) == 1
    assert last["hypervolume"] == archive.hypervolume > first["hypervolume"]
    names = {"trial_id": "t1", "epoch": 2, "accuracy": 0.91, "rate": 3.0, "size_bytes": 3750}
    assert last["members"] == [{**names, "artifact": "artifacts/t1-e002.rf"}]


def test_messages_are_events(events, stream):
    events.say("a line with a \n break")
    assert lines(stream) == [{"event": "message", "text": "a line with a \n break"}]


def test_the_end_says_where_things_are(events, stream, tmp_path):
    (tmp_path / "front.json").write_text("[]")
    events.end(Front([], {}, {}, tmp_path, hypervolume=0.25, interrupted=True), 3)
    facts = {"folder": str(tmp_path), "files": ["front.json"], "members": 0, "hypervolume": 0.25}
    assert lines(stream) == [{"event": "end", **facts, "interrupted": True, "exit_code": 3}]


def test_what_is_not_finite_is_null_and_what_json_does_not_know_is_text(events, stream):
    values = [math.nan, math.inf, -math.inf, 1.5, True, None, "nan"]
    events.tell("epoch", {"metrics": {"a": values, 3: (math.nan,)}, "where": Path("a/b"), "day": date(2020, 1, 2)})
    (line,) = lines(stream)
    assert line["metrics"] == {"a": [None, None, None, 1.5, True, None, "nan"], "3": [None]}
    assert (line["where"], line["day"]) == ("a/b", "2020-01-02")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_any_facts_are_one_line_of_json(facts):
    stream = io.StringIO()
    Events(stream).tell("epoch", {"facts": facts})
    assert stream.getvalue().count("\n") == 1
    assert lines(stream)[0]["facts"].keys() == facts.keys()


def test_a_pipe_that_was_closed_stops_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    Events(stream).say("nobody hears this")
    with pytest.raises(BrokenPipeError):
        stream.close()
