"""The sampler ehvi: its improvement is held to the hypervolume, and its points to functions whose best is known."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from analysis.pareto import Scale, hypervolume
from search.ehvi import EhviSampler, Outlook, corner, improvement
from search.searcher import draw_from
from search_spaces import Space
from search_spaces.limits import Constraints

DENSE = {"accuracy": 0.9, "rate": 32.0, "size": 40_000.0, "gops": 0.08}


def points_of(width):
    rows = st.lists(st.floats(0, 1.3).map(lambda x: round(x, 2)), min_size=width, max_size=width)
    return st.lists(rows, max_size=8).map(lambda found: np.array(found).reshape(-1, width))


@given(st.sampled_from([2, 3]).flatmap(lambda m: st.tuples(points_of(m), points_of(m), st.just(m))), st.floats(0.4, 1))
@settings(deadline=None)
def test_improvement_is_what_hypervolume_gains(points, top):
    front, others, width = points
    reference = [top] * width
    gains = improvement(front, others, reference)
    before = hypervolume(front, reference)
    assert gains == pytest.approx([hypervolume(np.vstack([front, p]), reference) - before for p in others], abs=1e-12)


@pytest.mark.parametrize(
    ("limits", "objectives", "expected"),
    [
        ({}, ["accuracy", "rate"], [0.9375, 1.0]),
        ({"min_accuracy": 0.82}, ["accuracy", "rate"], [0.1, 1.0]),
        ({"min_accuracy": 0.0}, ["accuracy", "size"], [0.9375, 1.0]),
        ({"max_size": 4000}, ["accuracy", "size"], [0.9375, 2 / 3]),
        ({"max_size": "4kB"}, ["rate", "accuracy"], [2 / 3, 0.9375]),
        ({"max_size": 4e9}, ["accuracy", "rate"], [0.9375, 1.0]),
        ({"max_gops": 0.008}, ["accuracy", "rate", "gops"], [0.9375, 1.0, 2 / 3]),
        ({"max_gops": 0.008}, ["accuracy", "rate"], None),
        ({"max_size": 4000}, ["accuracy", "gops"], None),
        ({"min_accuracy": 0.5}, ["rate", "gops"], None),
    ],
)
def test_constraints_move_the_corner(limits, objectives, expected):
    found = corner(Scale(objectives, DENSE, 0.1), Constraints.model_validate(limits))
    assert found == (None if expected is None else pytest.approx(expected))


# points

SEARCH = {
    "learnable_bit": {"type": "categorical", "choices": [True, False]},
    "max_bits": {"type": "int", "low": 2, "high": 8, "when": {"learnable_bit": True}},
    "dz.weight_decay": {"type": "float", "low": 1e-3, "high": 10, "log": True},
    "init_deadzone_logit": {"type": "float", "low": 0.0, "high": 2.0},
}


def metrics_of(draws):
    """A front from 0.9 at a rate of 8 to 0.7 at one of 0.1, of trials with learnt bits and a logit of 1.5."""
    strength = math.log10(draws["dz.weight_decay"] / 1e-3) / 4
    miss = 2 * (draws["init_deadzone_logit"] - 1.5) ** 2 + 0.05 * abs(draws.get("max_bits", 12) - 5)
    return {"accuracy": max(0.1, 0.9 - 0.2 * strength**2 - 0.1 * miss), "rate": 8 * 80**-strength * (1 + miss)}


@pytest.fixture
def study_of(smoke_space):
    """A study with a sampler; ``ask`` gives the draws of a trial."""

    def make(seed=0, ends=dict, **sections):
        space = Space.from_raw("toy", "toy.yaml", {**smoke_space().raw, "search": SEARCH, "seed": seed, **sections})
        scale = Scale(["accuracy", "rate"], DENSE, 0.1)
        sampler = EhviSampler(space, Outlook(scale, ends))
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

        def ask():
            trial = study.ask()
            trial.set_user_attr("trial_id", f"t{trial.number}")
            space.point(draw_from(trial))
            return trial

        return study, ask, scale

    return make


def tell(study, trial):
    found = metrics_of(trial.params)
    study.tell(trial, [found["accuracy"], found["rate"]])
    return found


@pytest.mark.slow
def test_it_finds_in_30_trials_what_chance_does_not_in_120(study_of):
    def reached(seed, model, count):
        study, ask, scale = study_of(seed)
        study.sampler = study.sampler if model else optuna.samplers.RandomSampler(seed=seed)
        return scale.hypervolume([tell(study, ask()) for _ in range(count)])

    ours, chance = ([reached(seed, *how) for seed in range(3)] for how in ((True, 30), (False, 120)))
    assert min(ours) > max(chance)


def test_points_are_drawn_at_random_until_three_trials_are_known(study_of):
    study, ask, _ = study_of()
    trials = [ask() for _ in range(8)]
    assert study.sampler.sample_relative(study, study.trials[0], {}) == {}
    for trial in trials[:2]:
        tell(study, trial)
    wanted = study.sampler.infer_relative_search_space(study, trials[0])
    assert set(wanted) == {"learnable_bit", "max_bits", "dz.weight_decay", "init_deadzone_logit"}
    assert study.sampler.sample_relative(study, study.trials[7], wanted) == {}
    tell(study, trials[2])
    assert study.sampler.sample_relative(study, study.trials[7], wanted)


def methods_tried(trials, seed):
    """How often each method is among the first twelve of ``trials``, where uniform ends far ahead of deadzone and epr."""
    space = Space.load("all_lenet300", {"budget.trials": trials, "points": [], "seed": seed}).embedded()
    sampler = EhviSampler(space, Outlook(Scale(["accuracy", "rate"], DENSE, 0.1)))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    tried = []
    for _ in range(12):
        trial = study.ask()
        space.point(draw_from(trial))
        tried.append(trial.params["method"])
        study.tell(trial, [0.9, 1.0] if tried[-1] == "uniform" else [0.2, 30.0])
    return [tried.count(method) for method in ("uniform", "deadzone", "epr")]


@pytest.mark.parametrize("seed", range(4))
def test_every_method_is_tried_twice_before_one_is_left_out(seed):
    assert min(methods_tried(18, seed)) >= 2


def test_where_there_are_too_few_trials_for_that_the_model_alone_says():
    assert min(min(methods_tried(17, seed)) for seed in range(4)) < 2


def test_methods_that_have_no_knobs_of_their_own_are_told_apart(study_of):
    study, _, _ = study_of(budget={"trials": 18, "epochs": 1})
    candidates = [{"method": method, "lr": 0.1 * k} for method in ("a", "b") for k in range(3)]
    tried = [{"method": "a", "lr": 1.0}, {"method": "a", "lr": 2.0}, {"method": "b", "lr": 1.0}]
    assert study.sampler._rare(candidates, tried) == candidates[3:]
    assert study.sampler._rare(candidates[:3], tried) == candidates[:3]
    assert study.sampler._rare(candidates, [*tried, tried[2]]) == candidates


def test_trials_asked_for_at_once_differ(study_of):
    study, ask, _ = study_of()
    for _ in range(10):
        tell(study, ask())
    places = study.sampler._places([ask().params for _ in range(6)])
    apart = np.abs(places[:, None] - places[None]).max(2) + np.eye(6)
    assert apart.min() > 0.05


@pytest.mark.parametrize("end", ["failed", "refused"])
def test_where_trials_fail_none_are_tried_again_and_again(study_of, end):
    """All with a strong decay end so, where the front's small end would be."""
    study, ask, _ = study_of()
    tried = []
    for _ in range(26):
        trial = ask()
        tried.append(trial.params["dz.weight_decay"] > 0.1)
        if tried[-1]:
            trial.set_user_attr("end", end)
            study.tell(trial, state=TrialState.FAIL)
        else:
            tell(study, trial)
    assert sum(tried[10:]) <= 6


def test_a_stopped_trial_counts_as_what_it_is_heading_for(study_of):
    """All were told a bad vector; the outlook says which are heading for a good one."""
    heading = {}
    study, ask, scale = study_of(ends=lambda: heading)
    asked = []
    for number in range(20):
        trial = ask()
        asked.append(trial.params["init_deadzone_logit"])
        heading[f"t{number}"] = scale.coordinates(metrics_of(trial.params))
        study.tell(trial, [0.3, 30.0])
    assert np.mean([abs(logit - 1.5) for logit in asked[12:]]) < np.mean([abs(logit - 1.5) for logit in asked[:3]])
    assert np.mean([abs(logit - 1.5) for logit in asked[12:]]) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("least", [0.88, 0.9, 0.95])
def test_constraints_that_nothing_keeps_yet_are_headed_for(study_of, least):
    """Even those that no network can keep: the dense one has 0.9."""
    study, ask, _ = study_of(constraints={"min_accuracy": least})
    found = [tell(study, ask())["accuracy"] for _ in range(20)]
    assert max(found[10:]) >= 0.88
    assert np.mean(found[10:]) > np.mean(found[:3])


def test_no_point_is_asked_for_twice_while_there_are_others(study_of):
    grid = {"init_deadzone_logit": {"type": "float", "low": 0.0, "high": 2.0, "step": 0.125}}
    study, ask, _ = study_of(search=grid)
    asked = []
    for number in range(17):
        trial = ask()
        asked.append(trial.params["init_deadzone_logit"])
        if number % 3:
            study.tell(trial, [0.9 - abs(asked[-1] - 1) / 4, 1 + asked[-1]])
    assert len(set(asked[5:])) == 12
    assert not set(asked[5:]) & set(asked[:5])


def test_what_a_point_fixes_is_kept_and_the_rest_goes_with_it(study_of):
    study, ask, _ = study_of()
    for _ in range(8):
        tell(study, ask())
    study.enqueue_trial({"learnable_bit": True, "dz.weight_decay": 5.0})
    assert ask().params.items() >= {"learnable_bit": True, "dz.weight_decay": 5.0}.items()


def test_a_done_trial_is_what_it_was_told_whatever_was_forecast(study_of):
    study, ask, scale = study_of(ends=lambda: {"t0": [0.9, 0.9]})
    trial = ask()
    trial.set_user_attr("end", "done")
    found = tell(study, trial)
    _, vectors, _, _ = study.sampler._known(study.get_trials(deepcopy=False))
    assert vectors == pytest.approx(np.array([scale(found)]))


def test_thousands_of_refused_trials_crowd_nothing_out(study_of):
    study, ask, _ = study_of()
    for _ in range(6):
        tell(study, ask())
    about = {"params": study.trials[0].params, "distributions": study.trials[0].distributions}
    for _ in range(2000):
        study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs={"end": "refused"}, **about))
    ask()
    assert len(study.sampler._surrogate._places) == 6 + 20


def test_a_copy_can_be_seeded_apart(study_of):
    study, ask, _ = study_of()
    for _ in range(6):
        tell(study, ask())
    number = study.ask().number
    trial = study.trials[number]
    wanted = study.sampler.infer_relative_search_space(study, trial)

    def asked():
        """The point, and the next random number."""
        return study.sampler.sample_relative(study, trial, wanted), study.sampler._random.random()

    first, again = asked(), asked()
    study.sampler.reseed_rng()
    assert first == again
    assert asked()[1] != first[1]
