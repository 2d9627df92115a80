from __future__ import annotations

import time

import pytest

from search.clock import Clock, DeadlineScheduler


def test_without_a_deadline_there_is_always_time():
    clock = Clock(trial_seconds=1e9)
    assert not clock.over()
    assert not clock.too_late_to_start()
    assert clock.left() is None


def test_after_the_deadline():
    clock = Clock(time.time() - 1)
    assert clock.over()
    assert clock.too_late_to_start()
    assert clock.left() == 0.0


@pytest.mark.parametrize(("trial_seconds", "too_late"), [(50, False), (150, True)])
def test_before_the_deadline_a_trial_starts_where_it_can_finish(trial_seconds, too_late):
    clock = Clock(time.time() + 100, trial_seconds)
    assert not clock.over()
    assert clock.too_late_to_start() is too_late
    assert clock.left() == pytest.approx(100, abs=5)


def test_elapsed_is_since_the_study_began():
    assert Clock(started=time.time() - 30).elapsed() == pytest.approx(30, abs=5)


@pytest.mark.parametrize(("seconds", "decision"), [(100, "CONTINUE"), (-1, "STOP"), (None, "CONTINUE")])
def test_the_scheduler_stops_every_trial_after_the_deadline(make_trial, seconds, decision):
    scheduler = DeadlineScheduler(Clock(None if seconds is None else time.time() + seconds))
    assert scheduler.on_trial_result(None, make_trial(), {"epoch": 1}) == decision


@pytest.mark.parametrize("metric", [None, ["accuracy", "rate"]])
def test_the_scheduler_accepts_several_objectives(metric):
    scheduler = DeadlineScheduler(Clock())
    assert scheduler.set_search_properties(metric, None) is True
    assert scheduler.metric is None
