from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.pareto import Scale
from search.clock import Clock
from search.rungs import Ladder
from search.scheduler import ParetoASHA
from search.searcher import StudySearch, open_storage
from search_spaces.sections import Rungs

ROOT = Path(__file__).parents[2]
DENSE = {"accuracy": 0.95, "size": 40_000, "rate": 32.0}


@pytest.fixture
def asha(smoke_space, tmp_path):
    """A scheduler with rungs at epochs 1 and 2 of 4, one trial in two going on."""

    def make(clock=None, **changes):
        rungs = {"grace": 1, "factor": 2, "protect": "all"}
        space = smoke_space(**{"budget__epochs": 4, "budget__rungs": rungs, **changes})
        clock = clock or Clock()
        searcher = StudySearch(space, open_storage(tmp_path), clock, 2, tmp_path)
        return ParetoASHA(clock, searcher, Scale(list(space.file.objectives), DENSE, 0.1))

    return make


def test_at_a_rung_what_another_dominates_stops(asha, make_trial, report):
    scheduler = asha()
    told = [
        scheduler.on_trial_result(None, make_trial(f"t{number}"), report(1, accuracy, rate))
        for number, (accuracy, rate) in enumerate([(0.9, 4.0), (0.8, 5.0), (0.8, 2.0), (0.95, 8.0), (0.7, 3.0)])
    ]
    assert told == ["CONTINUE", "STOP", "CONTINUE", "CONTINUE", "STOP"]


def test_of_a_front_go_on_as_many_as_the_factor_says(asha, make_trial, report):
    """Unless all of it is protected: the one nearest to the best corner first, then the one farthest from it."""
    scheduler = asha(budget__rungs={"grace": 1, "factor": 2})
    told = [
        scheduler.on_trial_result(None, make_trial(f"t{number}"), report(1, accuracy, rate))
        for number, (accuracy, rate) in enumerate([(0.9, 4.0), (0.8, 2.0), (0.95, 20.0), (0.93, 8.0)])
    ]
    assert told == ["CONTINUE", "STOP", "CONTINUE", "STOP"]


def test_between_rungs_and_at_the_end_all_go_on(asha, make_trial, report):
    scheduler = asha()
    for epoch in (3, 4):
        for number in range(4):
            trial = make_trial(f"t{number}")
            assert scheduler.on_trial_result(None, trial, report(epoch, 0.9 - number / 10, 4.0 + number)) == "CONTINUE"


def test_without_rungs_all_go_on(asha, make_trial, report):
    scheduler = asha(budget__rungs=None)
    for number in range(4):
        trial = make_trial(f"t{number}")
        assert scheduler.on_trial_result(None, trial, report(1, 0.9 - number / 10, 4.0 + number)) == "CONTINUE"


def test_after_the_deadline_all_stop(asha, make_trial, report):
    assert asha(Clock(time.time() - 1)).on_trial_result(None, make_trial(), report()) == "STOP"


def test_a_failed_trial_is_on_no_rung(asha, make_trial):
    scheduler = asha()
    assert scheduler.on_trial_result(None, make_trial(), {"epoch": 1, "failed": True}) == "CONTINUE"
    assert scheduler.searcher.ladder.sizes()[1] == 0


def test_a_network_that_only_guesses_protects_no_one(asha, make_trial, report):
    """However small: it could stand on no front."""
    scheduler = asha()
    small = [scheduler.on_trial_result(None, make_trial(f"t{n}"), report(1, 0.11, 0.1 + n)) for n in range(3)]
    good = scheduler.on_trial_result(None, make_trial("good"), report(1, 0.5, 30.0))
    assert (small, good) == (["CONTINUE", "STOP", "STOP"], "CONTINUE")


def test_constraints_count_at_rungs(asha, make_trial, report):
    scheduler = asha(constraints__max_size="5kB")  # a rate of 4 is 5,000 bytes
    sizes = [3.0, 3.5, 2.0, 9.0]
    told = [
        scheduler.on_trial_result(None, make_trial(f"t{n}"), report(1, 0.5 + n / 10, rate))
        for n, rate in enumerate(sizes)
    ]
    assert told == ["CONTINUE", "CONTINUE", "CONTINUE", "STOP"]


@pytest.mark.parametrize(("by", "known"), [("heading", 1), ("now", 0)])
def test_how_a_trial_ends_is_learnt_from(asha, make_trial, report, by, known):
    scheduler = asha(budget__rungs={"grace": 1, "factor": 2, "by": by})
    scheduler.searcher.suggest("t0")
    assert (scheduler.searcher.where("t0") is not None) == known
    assert scheduler.searcher.where("unknown") is None
    for epoch in (1, 2):
        assert scheduler.on_trial_result(None, make_trial("t0"), report(epoch, 0.5, 4.0)) == "CONTINUE"
    scheduler.on_trial_complete(None, make_trial("t0"), report(4, 0.6, 3.0))
    scheduler.on_trial_complete(None, make_trial("t1"), {"done": True})
    assert [len(trials) for trials in scheduler.searcher.ladder._forecast._known.values()] == [known] * 3


def test_its_rungs_come_back_with_it(asha, make_trial, report):
    """Ray keeps scheduler and searcher in one pickle; after it come the decisions of the file."""
    scheduler = asha()
    kept = pickle.dumps(scheduler)
    before = [scheduler.on_trial_result(None, make_trial(f"t{n}"), report(1, 0.9 - n / 10, 4.0)) for n in range(3)]
    again = pickle.loads(kept)
    assert again.searcher.ladder.sizes() == {1: 3, 2: 0}
    after = [again.on_trial_result(None, make_trial(f"t{n}"), report(1, 0.9 - n / 10, 4.0)) for n in range(3)]
    assert after == before == ["CONTINUE", "STOP", "STOP"]
    assert again.on_trial_result(None, make_trial("t3"), report(1, 0.5, 5.0)) == "STOP"


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_rungs(tmp_path):
    """Killed with no time to save anything, and resumed: every decision before the kill stands, and none is made twice."""
    changes = ["budget.rungs.grace=1", "budget.rungs.factor=2"]
    words = [
        "--space",
        "smoke",
        "--trials",
        "8",
        "--epochs",
        "4",
        "--max-concurrent",
        "1",
        "--quiet",
        "--name",
        "study",
    ]
    command = [sys.executable, str(ROOT / "tuner.py"), "--results", str(tmp_path)]
    file = tmp_path / "study" / "rungs.jsonl"
    process = subprocess.Popen([*command, *words, "--set", changes[0], "--set", changes[1]], start_new_session=True)
    try:
        until = time.time() + 250
        while not (file.exists() and len(file.read_text().splitlines()) >= 4):
            assert process.poll() is None
            assert time.time() < until
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = file.read_text().splitlines()
    subprocess.run([*command, "--resume", "study", "--quiet"], check=True, timeout=250)
    after = file.read_text().splitlines()
    assert after[: len(before)] == before
    entries = [json.loads(line) for line in after]
    told = [(entry["trial"], entry["epoch"]) for entry in entries]
    assert len(told) == len(set(told)) > len(before)
    oracle = Ladder(Rungs(grace=1, factor=2), 4)
    for entry in entries:
        assert oracle.judge(entry["trial"], entry["epoch"], entry["vector"], entry["feasible"]) == entry["go"]
