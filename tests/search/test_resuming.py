"""What a study that goes on makes of ledger, journal and checkpoints."""

from __future__ import annotations

import optuna
import pytest
import torch
from optuna.trial import TrialState

from search.clock import Clock
from search.ledger import Ledger
from search.resuming import Past, differences, held, resumed
from search.searcher import StudySearch, open_storage
from search.tracking import Tracking

ABOUT = {"data_used": "digits", "split": "holdout-300", "resolved": {"method": "deadzone", "budget": {"trials": 4}}}


class Deaf:
    """A recorder that nobody needs."""

    def wake(self):
        pass


class Study:
    """A study's stores, as one process after another opens them."""

    def __init__(self, folder, archive, space):
        self.folder, self.archive, self.space, self.said = folder, archive, space, []
        self.ledger = Ledger(folder / "ledger.jsonl", self.said.append)
        self.open()

    def open(self):
        self.searcher = StudySearch(self.space, open_storage(self.folder), Clock(), 2, self.folder)
        self.tracking = Tracking(self.ledger, Deaf())
        self.tracking.expect(["accuracy", "rate"], 2, {})

    def lines(self):
        from search.ledger import entries

        return [entry for entry, _ in entries(self.ledger.path)]

    def resume(self, trials=4, retry=False):
        self.open()
        past = Past(self.lines())
        self.archive.replay(past.lines)
        return resumed(self.searcher, past, self.archive, self.tracking, trials, self.said.append, retry)

    def states(self):
        return [trial.state.name for trial in self.searcher.study.trials]


@pytest.fixture
def study(tmp_path, archive, smoke_space):
    return Study(tmp_path, archive, smoke_space(sampler="random"))


@pytest.fixture
def play(study, make_trial, report, ended):
    """As much of a trial's life as a killed driver saw: asked, started, so many epochs, told, ended."""

    def some(name, epochs, told=False, end=False, **last):
        study.searcher.suggest(name)
        trial = make_trial(name)
        study.tracking.on_trial_start(0, [], trial)
        result = None
        for epoch in range(1, epochs + 1):
            result = {**report(epoch, trial_id=name), **(last if epoch == epochs else {})}
            (study.folder / "artifacts" / result["artifact"]).write_bytes(b"x")
            study.tracking.on_trial_result(0, [], trial, result)
        if told:
            study.searcher.on_trial_complete(name, result, error=not result)
        if end:
            ended(trial, result or {})
            (study.tracking.on_trial_complete if result else study.tracking.on_trial_error)(0, [], trial)

    return some


def checkpoint(folder, trial, number, epochs, whole=True):
    path = folder / f"trial_{trial}" / f"checkpoint_{number:06d}" / "trial.pt"
    path.parent.mkdir(parents=True)
    torch.save({"epochs_done": epochs, "model": torch.zeros(100)}, path)
    if not whole:
        path.write_bytes(path.read_bytes()[:-40])


def test_a_study_killed_before_its_first_trial_begins(study):
    assert study.resume() == ({}, 4)
    assert study.said == []


def test_those_that_ended_stay_and_those_that_ran_go_on(study, play):
    play("done", 2, told=True, end=True)
    play("running", 1)
    study.searcher.suggest("asked")
    checkpoint(study.folder, "running", 0, 1)
    waiting, fresh = study.resume()
    assert waiting == {"running": study.folder / "trial_running" / "held", "asked": None}
    assert fresh == 1
    assert study.said == ["resumed: of 3 trials 1 done ended; 2 go on, 1 of them from a checkpoint"]
    assert study.states() == ["COMPLETE", "RUNNING", "RUNNING"]


def test_a_trial_that_goes_on_has_the_knobs_it_had(study, play):
    before = study.searcher.suggest("one")
    study.resume()
    assert study.searcher.suggest("one") == before
    assert len(study.searcher.study.trials) == 1


def test_the_next_trials_are_those_of_an_undisturbed_search(study, smoke_space):
    whole = StudySearch(smoke_space(sampler="random"), optuna.storages.InMemoryStorage(), Clock(), 2)
    points = [whole.suggest(str(n))["point"] for n in range(4)]
    got = [study.searcher.suggest(str(n))["point"] for n in range(2)]
    waiting, fresh = study.resume()
    got += [study.searcher.suggest(f"n{n}")["point"] for n in range(fresh)]
    assert (list(waiting), got) == (["0", "1"], points)


@pytest.mark.parametrize(
    ("epochs", "last", "end", "state"),
    [(2, {}, "done", "COMPLETE"), (1, {"failed": True, "reason": "loss is nan"}, "failed", "FAIL")],
)
def test_a_trial_with_nothing_left_to_do_ends_for_every_store(study, play, epochs, last, end, state):
    play("one", epochs, **last)
    assert study.resume() == ({}, 3)
    assert study.states() == [state]
    assert (study.lines()[-1]["event"], study.lines()[-1]["end"]) == ("end", end)
    assert study.archive.trials["one"]["end"] == end
    assert study.said[-1] == "repaired: every store told of the end of one"
    assert study.resume() == ({}, 3), "once"
    assert len([line for line in study.lines() if line["event"] == "end"]) == 1


def test_a_trial_that_a_rung_stopped_does_not_run_on(tmp_path, archive, smoke_space, make_trial, report):
    rungs = {"grace": 1, "factor": 2}
    study = Study(tmp_path, archive, smoke_space(sampler="random", budget__rungs=rungs, budget__epochs=4))
    for name, vector in (("good", (0.1, 0.1)), ("bad", (0.9, 0.9))):
        study.searcher.suggest(name)
        study.tracking.on_trial_start(0, [], make_trial(name))
        study.searcher.ladder.judge(name, 1, vector)
        study.tracking.on_trial_result(0, [], make_trial(name), report(1, trial_id=name))
    assert study.resume() == ({"good": None}, 2)
    assert study.lines()[-1].items() >= {"event": "end", "trial": "bad", "end": "stopped"}.items()


def test_what_optuna_heard_first_the_others_hear(study, play):
    play("stopped", 1, told=True)
    play("crashed", 0, told=True)
    study.resume()
    assert [(line["trial"], line["end"]) for line in study.lines() if line["event"] == "end"] == [
        ("stopped", "stopped"),
        ("crashed", "failed"),
    ]


def test_what_the_ledger_heard_first_optuna_hears(study, play):
    play("one", 2, end=True)
    assert study.resume() == ({}, 3)
    assert study.states() == ["COMPLETE"]


def test_a_trial_killed_before_it_had_a_name_gets_one(study):
    study.searcher.study.ask()
    waiting, fresh = study.resume()
    (name,) = waiting
    assert fresh == 3
    assert [t.user_attrs["trial_id"] for t in study.searcher.study.get_trials(states=[TrialState.RUNNING])] == [name]


def test_the_last_whole_checkpoint_is_held_and_the_rest_is_cleared(tmp_path):
    checkpoint(tmp_path, "t", 3, 4)
    checkpoint(tmp_path, "t", 4, 5)
    checkpoint(tmp_path, "t", 5, 6, whole=False)
    assert held(tmp_path, "t", 6) == tmp_path / "trial_t" / "held"
    assert [path.name for path in (tmp_path / "trial_t").iterdir()] == ["held"]
    assert torch.load(tmp_path / "trial_t" / "held" / "trial.pt", weights_only=True)["epochs_done"] == 5


def test_a_newer_checkpoint_takes_the_place_of_the_held(tmp_path):
    for number, epochs in ((0, 5), (0, 6)):
        checkpoint(tmp_path, "t", number, epochs)
        held(tmp_path, "t", 6)
    assert torch.load(tmp_path / "trial_t" / "held" / "trial.pt", weights_only=True)["epochs_done"] == 6
    assert held(tmp_path, "t", 6) == tmp_path / "trial_t" / "held"


def test_a_checkpoint_that_the_ledger_knows_nothing_of_is_none(tmp_path):
    checkpoint(tmp_path, "t", 3, 4)
    checkpoint(tmp_path, "t", 4, 5)
    assert held(tmp_path, "t", 4) == tmp_path / "trial_t" / "held"
    assert torch.load(tmp_path / "trial_t" / "held" / "trial.pt", weights_only=True)["epochs_done"] == 4
    assert held(tmp_path, "t", 0) is None


def test_a_checkpoint_of_objects_is_none(tmp_path):
    path = tmp_path / "trial_t" / "checkpoint_000000"
    path.mkdir(parents=True)
    torch.save({"epochs_done": Deaf()}, path / "trial.pt")
    assert held(tmp_path, "t", 6) is None


def test_what_was_refused_is_no_trial(study):
    refused = study.searcher.study.ask()
    refused.set_user_attr("end", "refused")
    study.searcher.study.tell(refused, state=TrialState.FAIL)
    assert study.resume() == ({}, 4)


def test_trials_that_crashed_are_tried_once_more(study, play):
    play("crashed", 1, end=True)
    study.ledger.path.write_text(study.ledger.path.read_text().replace('"end": "stopped"', '"end": "failed"'))
    play("diverged", 1, end=True, failed=True, reason="loss is nan")
    knobs = study.searcher.study.trials[0].params
    assert study.resume(trials=2, retry=True) == ({}, 1)
    assert study.searcher.suggest("again")["point"] == knobs
    assert study.resume(trials=2, retry=True) == ({"again": None}, 0), "once"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"resolved": {"method": "deadzone", "budget": {"trials": 9}}}, []),
        ({"data_used": "mnist"}, ["data_used was digits, is mnist"]),
        ({"resolved": {"method": "epr", "budget": {"trials": 4}}}, ["method was deadzone, is epr"]),
        ({"resolved": {"budget": {"trials": 4}}}, ["method was deadzone, is absent"]),
    ],
)
def test_differences(change, said):
    assert differences(ABOUT, {**ABOUT, **change}) == said


def test_the_order_of_objectives_is_a_difference():
    old, new = ({"resolved": {"objectives": dict.fromkeys(names, "min")}} for names in (["a", "b"], ["b", "a"]))
    assert differences(old, new) == ["order of objectives was ['a', 'b'], is ['b', 'a']"]
