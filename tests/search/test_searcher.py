"""The searcher on a real journal: what it asks of Optuna, and what it tells."""

from __future__ import annotations

import math
import pickle
import time

import optuna
import pytest
from optuna.trial import TrialState
from ray import cloudpickle
from ray.tune.search import ConcurrencyLimiter, Searcher

from search.clock import Clock
from search.samplers import SAMPLERS
from search.searcher import StudySearch, open_storage, sample
from search_spaces import Space
from trainables.base import recipe_of

GOOD = {"epoch": 2, "accuracy": 0.9, "rate": 4.0, "failed": False}


@pytest.fixture
def conditional_space(smoke_space):
    """Knobs that exist only where another has a certain value."""
    search = {
        "learnable_bit": {"type": "categorical", "choices": [True, False]},
        "fixed_bit_val": {"type": "int", "low": 3, "high": 5, "when": {"learnable_bit": False}},
        "max_bits": {"type": "int", "low": 4, "high": 6, "when": {"learnable_bit": True}},
        "bit.weight_decay": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "when": {"learnable_bit": True}},
    }
    return Space.from_raw("conditional", "conditional.yaml", {**smoke_space().raw, "search": search})


@pytest.fixture
def search_in(tmp_path):
    def make(space, clock=None, concurrent=2):
        return StudySearch(space, open_storage(tmp_path), clock or Clock(), concurrent)

    return make


def stored(folder, name="smoke"):
    """The trials as another process reads them."""
    return optuna.load_study(study_name=name, storage=open_storage(folder)).trials


def test_suggests_configs_that_a_trial_can_be_built_from(search_in, smoke_space):
    config = search_in(smoke_space()).suggest("t1")
    assert set(config["point"]) == {"init_deadzone_logit", "max_bits", "dz.weight_decay"}
    assert config["knobs"]["max_bits"] == config["point"]["max_bits"] in range(4, 9)
    assert config["optimizer"]["dz"]["weight_decay"] == config["point"]["dz.weight_decay"]
    assert recipe_of(config).epochs == 2


def test_suggests_within_the_domains(search_in, smoke_space):
    searcher = search_in(smoke_space())
    points = [searcher.suggest(f"t{n}")["point"] for n in range(12)]
    assert all(0.5 <= p["init_deadzone_logit"] <= 1.5 and 1e-2 <= p["dz.weight_decay"] <= 10 for p in points)
    assert len({p["init_deadzone_logit"] for p in points}) == 12


def test_asked_again_for_the_same_trial_it_gives_the_same_config(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space())
    assert searcher.suggest("t1") == searcher.suggest("t1")
    assert len(stored(tmp_path)) == 1


def test_conditional_knobs_are_drawn_where_they_exist(search_in, conditional_space):
    searcher = search_in(conditional_space)
    points = [searcher.suggest(f"t{n}")["point"] for n in range(20)]
    assert {p["learnable_bit"] for p in points} == {True, False}
    for point in points:
        assert ("max_bits" in point) == ("bit.weight_decay" in point) == point["learnable_bit"]
        assert ("fixed_bit_val" in point) == (not point["learnable_bit"])


def test_a_trial_with_fewer_knobs_completes(search_in, conditional_space, tmp_path):
    searcher = search_in(conditional_space)
    for number in range(12):  # past the sampler's random start
        searcher.suggest(f"t{number}")
        searcher.on_trial_complete(f"t{number}", {**GOOD, "rate": 3 + number / 10})
    states = {trial.state for trial in stored(tmp_path, "conditional")}
    assert states == {TrialState.COMPLETE}


def test_a_finished_trial_is_complete_with_its_values_in_the_order_of_the_objectives(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space())
    point = searcher.suggest("t1")["point"]
    searcher.on_trial_complete("t1", GOOD)
    (trial,) = stored(tmp_path)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.9, 4.0])
    assert trial.params == point
    assert trial.user_attrs == {"trial_id": "t1", "end": "done", "epoch": 2}
    study = optuna.load_study(study_name="smoke", storage=open_storage(tmp_path))
    assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]


STOPPED = {"trial_id": "t1", "end": "stopped", "epoch": 1, "fidelity": 0.25, "values": [0.9, 4.0]}


def test_the_sampler_learns_from_a_stopped_trial_too(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space(budget__epochs=4))
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", {**GOOD, "epoch": 1})
    (trial,) = stored(tmp_path)
    assert (trial.state, trial.values, trial.user_attrs) == (TrialState.COMPLETE, [0.9, 4.0], STOPPED)


def test_where_stopped_trials_are_left_out_one_is_a_fail_that_keeps_its_values(smoke_space, tmp_path):
    space = smoke_space(budget__epochs=4)
    searcher = StudySearch(space, open_storage(tmp_path), Clock(), 2, stopped="left_out")
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", {**GOOD, "epoch": 1})
    (trial,) = stored(tmp_path)
    assert (trial.state, trial.values, trial.user_attrs) == (TrialState.FAIL, None, STOPPED)


def test_constraints_are_told(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space(constraints__max_size="1kB", constraints__min_accuracy=0.5))
    for name, size in (("t1", 800), ("t2", 1500)):
        searcher.suggest(name)
        searcher.on_trial_complete(name, {**GOOD, "size": size, "gops": 1.0})
    trials = stored(tmp_path)
    assert [trial.constraints for trial in trials] == [
        {"max_size": pytest.approx(-0.2), "min_accuracy": pytest.approx(-0.4)},
        {"max_size": pytest.approx(0.5), "min_accuracy": pytest.approx(-0.4)},
    ]
    study = optuna.load_study(study_name="smoke", storage=open_storage(tmp_path))
    assert [trial.user_attrs["trial_id"] for trial in study.best_trials] == ["t1"]


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_every_sampler_bears_constraints(search_in, smoke_space, sampler):
    searcher = search_in(smoke_space(sampler=sampler, constraints__max_size="1kB", budget__trials=30))
    for number in range(14):
        searcher.suggest(f"t{number}")
        searcher.on_trial_complete(f"t{number}", {**GOOD, "rate": 3 + number, "size": 500 + 100 * number, "gops": 1.0})


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({**GOOD, "accuracy": math.nan}, False),
        ({**GOOD, "rate": math.inf}, False),
        ({"epoch": 2, "accuracy": 0.9}, False),
        ({"epoch": 1, "failed": True, "reason": "loss is nan"}, False),
        ({}, False),
        (None, False),
        (None, True),
        (GOOD, True),
    ],
    ids=["nan", "inf", "missing", "failed", "empty", "nothing", "crash", "late crash"],
)
def test_what_is_not_a_finished_trial_fails_and_never_stays_running(search_in, smoke_space, tmp_path, result, error):
    searcher = search_in(smoke_space())
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", result, error)
    (trial,) = stored(tmp_path)
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs["end"] == "failed"
    assert "values" not in trial.user_attrs


def test_told_twice_or_of_a_stranger_nothing_happens(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space())
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", GOOD)
    searcher.on_trial_complete("t1", {**GOOD, "accuracy": 0.1})
    searcher.on_trial_complete("stranger", GOOD)
    assert [trial.values for trial in stored(tmp_path)] == [[0.9, 4.0]]


def test_epochs_in_between_are_not_told(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space())
    searcher.suggest("t1")
    searcher.on_trial_result("t1", {**GOOD, "epoch": 1})
    assert stored(tmp_path)[0].state is TrialState.RUNNING


def test_a_study_is_reopened_with_its_trials(search_in, smoke_space, tmp_path):
    search_in(smoke_space()).suggest("t1")
    again = search_in(smoke_space(budget__trials=50, resources__concurrent=1))
    again.suggest("t2")
    assert [trial.user_attrs["trial_id"] for trial in again.study.trials] == ["t1", "t2"]


@pytest.mark.parametrize(
    "change",
    [
        {"objectives": {"rate": "min", "gops": "min"}},
        {"objectives": {"accuracy": "max", "rel_bops": "min"}},
        {"objectives": {"rate": "min", "accuracy": "max"}},
        {"max_bits": 6},
        {"search.max_bits": {"type": "int", "low": 2, "high": 3}},
        {"lambda_dz": 0.5},
        {"task.network": "resnet20"},
        {"task.data": "mnist"},
        {"budget.epochs": 3},
        {"constraints.max_size": 3},
        {"base.lr": 0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_study_of_another_space_or_other_objectives_is_refused(search_in, smoke_space, tmp_path, change):
    search_in(smoke_space()).suggest("t1")
    other = Space.load("smoke", change)
    if "objectives" in change:  # flags are laid over the section; another file replaces it
        other = Space.from_raw("smoke", "smoke.yaml", {**smoke_space().raw, **change})
    with pytest.raises(ValueError, match="its journal holds trials of another space or other objectives"):
        search_in(other)
    assert len(stored(tmp_path)) == 1


# warm-start points

POINTS = [{"max_bits": 5, "init_deadzone_logit": 1.0}, {"dz.weight_decay": 2.5}, {"max_bits": 8}]


@pytest.fixture
def pointed_space(smoke_space):
    """The smoke space with points, and sections over it."""

    def make(points=POINTS, **sections):
        return Space.from_raw("pointed", "pointed.yaml", {**smoke_space().raw, "points": points, **sections})

    return make


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_come_first_and_in_order(search_in, pointed_space, tmp_path, sampler):
    searcher = search_in(pointed_space(sampler=sampler))
    asked = [searcher.suggest(f"t{n}")["point"] for n in range(5)]
    assert all(point.items() <= first.items() for point, first in zip(POINTS, asked, strict=False))
    assert all(set(point) == {"init_deadzone_logit", "max_bits", "dz.weight_decay"} for point in asked)
    trials = stored(tmp_path, "pointed")
    assert [trial.user_attrs.get("point") for trial in trials] == [0, 1, 2, None, None]
    assert [trial.params for trial in trials] == asked


def test_with_fewer_trials_than_points_none_is_left_waiting(search_in, pointed_space, tmp_path):
    search_in(pointed_space()).suggest("t1")
    assert [(trial.state, trial.user_attrs["point"]) for trial in stored(tmp_path, "pointed")] == [
        (TrialState.RUNNING, 0)
    ]


def test_points_of_the_journal_are_not_tried_again(search_in, pointed_space, tmp_path):
    searcher = search_in(pointed_space())
    for name, result in (("t1", GOOD), ("t2", None)):  # one that failed counts as tried
        searcher.suggest(name)
        searcher.on_trial_complete(name, result)
    again = search_in(pointed_space([*POINTS, {"max_bits": 4}]))
    for number in range(3, 7):
        again.suggest(f"t{number}")
    assert [trial.user_attrs.get("point") for trial in stored(tmp_path, "pointed")] == [0, 1, 2, 3, None, None]


def test_a_restored_searcher_goes_on_with_the_points(search_in, pointed_space, tmp_path):
    searcher = search_in(pointed_space())
    searcher.suggest("t1")
    kept = pickle.dumps(searcher)
    searcher.suggest("t2")  # after the snapshot
    again = pickle.loads(kept)
    for name in ("t3", "t4"):
        again.suggest(name)
    assert [trial.user_attrs.get("point") for trial in stored(tmp_path, "pointed")] == [0, 1, 2, None]


def test_points_meet_conditions_templates_and_every_type(search_in, smoke_space, tmp_path):
    search = {
        "learnable_bit": {"type": "categorical", "choices": [True, False]},
        "fixed_bit_val": {"type": "int", "low": 3, "high": 5, "when": {"learnable_bit": False}},
        "statistic": {"template": "{kind}", "holes": {"kind": {"type": "categorical", "choices": ["max", "quantile"]}}},
        "quantile": {"type": "float", "low": 0.9, "high": 1.0, "when": {"statistic": "quantile"}},
        "base.lr": {"type": "float", "low": 1e-3, "high": 4.5e-3, "step": 1e-3},
        "dz.weight_decay": {"type": "float", "low": 1, "high": 10, "log": True},
    }
    point = {"learnable_bit": False, "fixed_bit_val": 4, "statistic.kind": "quantile", "quantile": 0.95}
    point |= {"base.lr": 3e-3, "dz.weight_decay": 2}
    searcher = search_in(Space.from_raw("all", "all.yaml", {**smoke_space().raw, "search": search, "points": [point]}))
    config = searcher.suggest("t1")
    (trial,) = stored(tmp_path, "all")
    assert trial.params == point
    assert config["point"].pop("statistic") == "quantile"
    assert config["point"].items() < point.items()
    assert type(config["point"]["dz.weight_decay"]) is float
    assert config["knobs"] | {"fixed_bit_val": 4, "statistic": "quantile", "quantile": 0.95} == config["knobs"]


def test_points_do_not_make_another_study(search_in, smoke_space, pointed_space):
    search_in(pointed_space([])).suggest("t1")
    assert search_in(pointed_space()).suggest("t2")["point"].items() >= POINTS[0].items()


def test_a_sample_is_a_point_of_the_space_by_its_seed(smoke_space):
    assert sample(smoke_space(seed=3)) == sample(smoke_space(seed=3)) != sample(smoke_space(seed=4))
    assert 4 <= sample(smoke_space())["max_bits"] <= 8


@pytest.mark.parametrize("tool", [pickle, cloudpickle])
def test_it_survives_pickling(search_in, smoke_space, tmp_path, tool):
    searcher = search_in(smoke_space())
    searcher.suggest("t1")
    again = tool.loads(tool.dumps(searcher))
    again.on_trial_complete("t1", GOOD)
    again.suggest("t2")
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_it_survives_rays_snapshots(search_in, smoke_space, tmp_path):
    limited = ConcurrencyLimiter(search_in(smoke_space()), max_concurrent=2)
    config = limited.suggest("t1")
    limited.save(str(tmp_path / "searcher-state.pkl"))
    again = ConcurrencyLimiter(search_in(smoke_space()), max_concurrent=2)
    again.restore(str(tmp_path / "searcher-state.pkl"))
    assert again.suggest("t1") == config
    again.on_trial_complete("t1", GOOD)
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE]


def test_nothing_starts_after_the_deadline(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space(), Clock(time.time() - 1))
    assert searcher.suggest("t1") == Searcher.FINISHED
    assert stored(tmp_path) == []


def test_what_cannot_finish_is_not_started_but_a_first_round_is(search_in, smoke_space, tmp_path):
    searcher = search_in(smoke_space(), Clock(time.time() + 60, trial_seconds=1000), concurrent=2)
    assert searcher.suggest("t1") != Searcher.FINISHED
    assert searcher.suggest("t2") != Searcher.FINISHED
    assert searcher.suggest("t3") == Searcher.FINISHED
    assert len(stored(tmp_path)) == 2


def test_a_trial_that_fits_is_started(search_in, smoke_space):
    searcher = search_in(smoke_space(), Clock(time.time() + 60, trial_seconds=1), concurrent=1)
    assert Searcher.FINISHED not in [searcher.suggest(f"t{n}") for n in range(4)]


def test_the_time_a_trial_takes_is_learnt_from_those_that_finished(search_in, smoke_space):
    clock = Clock(time.time() + 60, trial_seconds=1000)
    searcher = search_in(smoke_space(), clock, concurrent=3)
    for name, seconds in (("t1", 4), ("t2", 8), ("t3", 900)):
        searcher.suggest(name)
        searcher._began[name] -= seconds
    searcher.on_trial_complete("t1", GOOD)
    assert clock.trial_seconds == pytest.approx(4, abs=1)
    searcher.on_trial_complete("t2", GOOD)
    assert clock.trial_seconds == pytest.approx(6, abs=1)
    searcher.on_trial_complete("t3", {**GOOD, "epoch": 1})
    assert clock.trial_seconds == pytest.approx(6, abs=1)
    assert searcher.suggest("t4") != Searcher.FINISHED


# before a trial


class Refusing:
    """A preflight that refuses the first few, or says that the search is over."""

    def __init__(self, refusals=0, over=False):
        self.refusals, self.over = refusals, lambda: over

    def refuses(self, config):
        self.refusals -= 1
        return self.refusals >= 0


def test_what_is_refused_costs_nothing_and_the_next_is_taken(smoke_space, tmp_path):
    searcher = StudySearch(smoke_space(), open_storage(tmp_path), Clock(), 2, preflight=Refusing(3))
    config = searcher.suggest("t1")
    trials = stored(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 3 + [TrialState.RUNNING]
    assert [trial.user_attrs for trial in trials] == [{"end": "refused"}] * 3 + [{"trial_id": "t1"}]
    assert config["point"] == trials[3].params


@pytest.mark.parametrize("preflight", [Refusing(10**6), Refusing(over=True)], ids=["nothing left", "at rest"])
def test_a_search_with_nothing_left_to_try_is_finished(smoke_space, preflight):
    searcher = StudySearch(smoke_space(), optuna.storages.InMemoryStorage(), Clock(), 2, preflight=preflight)
    assert searcher.suggest("t1") == Searcher.FINISHED


def test_a_restored_searcher_keeps_the_clock_it_has(search_in, smoke_space, tmp_path):
    search_in(smoke_space(), Clock(time.time() - 5)).save(str(tmp_path / "state.pkl"))
    again = search_in(smoke_space())
    again.restore(str(tmp_path / "state.pkl"))
    assert not again.clock.over()
