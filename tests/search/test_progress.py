from __future__ import annotations

import io
import os
import pickle
import time

import pytest
from ray.train._internal.storage import StorageContext

from search.clock import Clock
from search.progress import Lines, Progress, duration, line_of, speaker


@pytest.fixture
def said():
    return []


@pytest.fixture
def progress(archive, said):
    return Progress(archive, Clock(started=time.time() - 12), trials=4, view=Lines(said.append))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (420, "7 min"),
        (7500, "2 h 05 min"),
        (36000, "10 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("quiet", "text"), [(False, "a line\n"), (True, "")])
def test_a_speaker_prints_a_line_or_nothing(quiet, text):
    stream = io.StringIO()
    speaker(quiet, stream)("a line")
    assert stream.getvalue() == text


def test_speech_goes_to_standard_output(capsys):
    speaker(False)("a line")
    assert capsys.readouterr().out == "a line\n"


def test_a_pipe_that_was_closed_stops_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    speaker(False, stream)("nobody hears this")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_line_counts_trials_epochs_and_the_front(progress, archive, said, make_trial, report, ended):
    ends = {"t1": report(2, 0.9, 4.0), "t2": report(1, 0.8, 3.0, trial_id="t2"), "t3": {"epoch": 1, "failed": True}}
    for name, last in ends.items():
        trial = make_trial(name)
        archive.on_trial_start(0, [], trial)
        archive.on_trial_result(0, [], trial, last)
        archive.on_trial_complete(0, [], ended(trial, last))
    running = make_trial("t4")
    archive.on_trial_start(0, [], running)
    line = line_of(progress.state())
    assert line.startswith("[  12 s] 1/4 trials done | 1 running | 1 stopped | 1 failed | epoch 4/8 | front 2 | hyper")
    assert f"hypervolume {archive.hypervolume:.3f}" in line
    assert archive.hypervolume > 0
    state = progress.state()
    assert [(trial.trial_id, trial.epoch) for trial in state.running] == [("t4", 0)]
    assert (state.spent, state.to_come, state.budget) == (4, 2, 8)  # no trial is left to start


def test_the_first_epoch_is_shown_at_once_and_the_next_is_held_back(progress, said, make_trial, report):
    trial = make_trial()
    for epoch in (1, 2, 3):
        progress.on_trial_result(0, [], trial, report(epoch))
    assert len(said) == 1
    progress.view._printed -= 31
    progress.on_trial_result(0, [], trial, report(4))
    assert len(said) == 2


def test_a_trial_that_starts_is_no_line(progress, said, make_trial):
    progress.on_trial_start(0, [], make_trial())
    assert said == []


def test_the_end_of_a_trial_is_always_shown(progress, said, make_trial):
    for _ in range(3):
        progress.on_trial_complete(0, [], make_trial())
    assert len(said) == 3


def test_a_crash_says_where_to_read_why(progress, said, make_trial, tmp_path):
    trial = make_trial("t7")
    trial.storage = StorageContext(str(tmp_path), experiment_dir_name="study", trial_dir_name="trial_t7")
    progress.on_trial_error(0, [], trial)
    assert said[0] == f"trial t7 failed, it crashed; its error is in {tmp_path}/study/trial_t7/error.txt"
    assert len(said) == 2


def test_time_left_is_guessed_from_the_pace(progress, archive, make_trial, report):
    trial = make_trial()
    for epoch in (1, 2):
        archive.on_trial_result(0, [], trial, report(epoch))
        progress.on_trial_result(0, [], trial, {})
        if epoch == 1:
            assert progress.state().left is None
            progress._first -= 10
    assert progress.state().left == pytest.approx(60, abs=1)  # an epoch in ten seconds, six to go


def test_epochs_that_a_stopped_trial_leaves_are_not_waited_for(progress, archive, make_trial, report, ended):
    trial = make_trial()
    archive.on_trial_result(0, [], trial, report(1))
    assert progress.state().to_come == 7
    archive.on_trial_complete(0, [], ended(trial, report(1)))
    assert progress.state().to_come == 6


def test_no_pace_is_told_before_each_running_trial_may_have_reported(progress, archive, make_trial, report):
    for name in ("t1", "t2"):
        archive.on_trial_result(0, [], make_trial(name), report(1, trial_id=name))
    progress._first = time.time() - 1
    assert progress.state().left is None
    archive.on_trial_result(0, [], make_trial("t1"), report(2))
    assert progress.state().left is not None


def test_time_left_is_never_past_the_deadline(archive, make_trial, report):
    progress = Progress(archive, Clock(time.time() + 20.4), 4, Lines(print))
    assert line_of(progress.state()).endswith(" | about 20 s left")
    progress._first = time.time() - 100
    archive.on_trial_result(0, [], make_trial(), report(2))
    assert line_of(progress.state()).endswith(" | about 20 s left")


def test_time_goes_on_while_nothing_is_reported(archive):
    state = Progress(archive, Clock(time.time() + 20, started=time.time() - 5), 4, Lines(print)).state()
    later = state.later(state.at + 15)
    assert (later.elapsed, later.left) == pytest.approx((20, 5), abs=0.5)
    assert later.later(later.at + 15).left == 0
    assert later.later(later.at - 99).elapsed == later.elapsed


def test_ray_keeps_it_with_the_experiment(progress, make_trial, capsys):
    pickle.loads(pickle.dumps(progress)).on_trial_complete(0, [], make_trial())
    assert "0/4 trials done" in capsys.readouterr().out
