"""Every sampler is held to one contract; then the policy of auto."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import get_args

import optuna
import pytest
from optuna.samplers import GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

import tuner
from analysis.pareto import Scale
from search.clock import Clock
from search.distributions import span
from search.ehvi import EhviSampler, Outlook
from search.samplers import SAMPLERS, choose, make_sampler
from search.searcher import StudySearch, draw_from, open_storage
from search_spaces import Space
from search_spaces.domains import Float, Int
from search_spaces.sections import SamplerName

SEARCH = {
    "init_deadzone_logit": {"type": "float", "low": 0.5, "high": 1.5},
    "learnable_bit": {"type": "categorical", "choices": [True, False]},
    "max_bits": {"type": "int", "low": 4, "high": 6, "when": {"learnable_bit": True}},
    "fixed_bit_val": {"type": "int", "low": 2, "high": 7, "step": 2, "when": {"learnable_bit": False}},
    "statistic": {"template": "{kind}", "holes": {"kind": {"type": "categorical", "choices": ["max", "quantile"]}}},
    "quantile": {"type": "float", "low": 0.9, "high": 1.0, "when": {"statistic": "quantile"}},
    "base.lr": {"type": "float", "low": 1e-3, "high": 4.5e-3, "step": 1e-3},
    "dz.weight_decay": {"type": "float", "low": 1e-2, "high": 10, "log": True},
    "init_bit_logit": {"type": "int", "low": 1, "high": 9, "log": True},
    "bit.weight_decay": {"type": "float", "low": 0.5, "high": 0.5},
}
OBJECTIVES = {2: {"accuracy": "max", "rate": "min"}, 3: {"accuracy": "max", "rate": "min", "gops": "min"}}


@pytest.fixture(autouse=True)
def quick_gp(monkeypatch):
    """GP's acquisition searched a little; as Optuna does it an ask takes seconds."""
    begin = GPSampler.__init__

    def coarse(self, **arguments):
        begin(self, **arguments)
        assert {"_n_preliminary_samples", "_n_local_search", "_n_qmc_samples_ehvi"} <= set(vars(self))
        self._n_preliminary_samples, self._n_local_search, self._n_qmc_samples_ehvi = 16, 2, 8

    monkeypatch.setattr(GPSampler, "__init__", coarse)


@pytest.fixture
def space_of(smoke_space):
    def make(sampler, objectives=2, search=SEARCH, **sections):
        raw = {**smoke_space().raw, "search": search, "sampler": sampler, "objectives": OBJECTIVES[objectives]}
        return Space.from_raw("every", "every.yaml", {**raw, **sections})

    return make


@pytest.fixture
def search_in(tmp_path):
    def make(space, folder="", concurrent=1):
        (tmp_path / folder).mkdir(exist_ok=True)
        return StudySearch(space, open_storage(tmp_path / folder), Clock(), concurrent)

    return make


def result_of(point, epoch=2):
    """A trade-off: less dead zone is more accurate and larger."""
    loss = (point["init_deadzone_logit"] - 1) ** 2 + 0.1 * math.log10(point["dz.weight_decay"]) ** 2
    bits = point.get("max_bits") or point["fixed_bit_val"]
    return {"epoch": epoch, "accuracy": 1 - loss - 0.5**bits, "rate": bits * loss, "gops": bits * point["base.lr"]}


def searched(searcher, count, at_once=1):
    """``count`` points with as many asked for before the first is told, each fourth trial failing."""
    points, running = [], []
    for number in range(count):
        points.append(searcher.suggest(f"t{number}")["point"])
        running.append(number)
        if len(running) == at_once:
            done = running.pop(0)
            searcher.on_trial_complete(f"t{done}", None if done % 4 == 3 else result_of(points[done]))
    return points


# these two fit a model for every point
BY_COST = [pytest.param(name, marks=pytest.mark.slow) if name in ("gp", "ehvi") else name for name in SAMPLERS]


@pytest.mark.parametrize("sampler", BY_COST)
class TestContract:
    """What every sampler keeps, past its random start: 6 finished trials, or a generation of 8."""

    @pytest.mark.parametrize("objectives", [2, 3])
    def test_it_searches_in_parallel_with_conditions_and_failures(self, search_in, space_of, sampler, objectives):
        searcher = search_in(space_of(sampler, objectives), concurrent=3)
        points = searched(searcher, 14, at_once=3)
        for point in points:
            assert 0.5 <= point["init_deadzone_logit"] <= 1.5
            assert 1e-2 <= point["dz.weight_decay"] <= 10
            assert any(math.isclose(point["base.lr"], rate) for rate in (1e-3, 2e-3, 3e-3, 4e-3))
            assert point["init_bit_logit"] in range(1, 10)
            assert point["bit.weight_decay"] == 0.5
            assert point.get("max_bits", 4) in range(4, 7)
            assert point.get("fixed_bit_val", 2) in (2, 4, 6)
            assert ("max_bits" in point) == point["learnable_bit"] != ("fixed_bit_val" in point)
            assert ("quantile" in point) == (point["statistic"] == "quantile")
        assert len({point["init_deadzone_logit"] for point in points}) > 7
        states = [trial.state for trial in searcher.study.trials]
        assert [states.count(state) for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING)] == [
            9,
            3,
            2,
        ]

    def test_a_seed_gives_the_same_points(self, search_in, space_of, sampler):
        first, same, other = (
            searched(search_in(space_of(sampler, seed=seed), str(number)), 11) for number, seed in enumerate((7, 7, 8))
        )
        assert first == same
        assert first != other

    def test_it_goes_on_after_pickling(self, search_in, space_of, sampler):
        searcher = search_in(space_of(sampler))
        points = searched(searcher, 11)
        again = pickle.loads(pickle.dumps(searcher))
        again.suggest("new")
        again.on_trial_complete("new", result_of(points[0]))
        assert again.study.trials[-1].state is TrialState.COMPLETE

    def test_nothing_is_said(self, search_in, space_of, sampler, capfd, recwarn):
        optuna.logging.enable_propagation()
        try:
            searched(search_in(space_of(sampler), concurrent=2), 12, at_once=2)
        finally:
            optuna.logging.disable_propagation()
        assert capfd.readouterr() == ("", "")
        assert not recwarn.list

    def test_one_knob_is_enough(self, search_in, space_of, sampler):
        searcher = search_in(space_of(sampler, search={"max_bits": {"type": "int", "low": 4, "high": 8}}))
        for number in range(9):
            bits = searcher.suggest(f"t{number}")["point"]["max_bits"]
            searcher.on_trial_complete(f"t{number}", {"epoch": 2, "accuracy": bits / 10, "rate": bits})
        assert len(searcher.study.best_trials) >= 1


@pytest.mark.slow
def test_a_fresh_program_says_nothing_when_it_asks_gp():
    """Optuna warns once where greenlet is not installed, when GP's parts are first imported."""
    lines = """
import optuna
from search.samplers import make_sampler
from search.searcher import draw_from
from search_spaces import Space
space = Space.load("smoke", {"sampler": "gp"})
sampler = make_sampler("gp", space)
sampler._n_preliminary_samples, sampler._n_local_search = 16, 2
study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
for number in range(7):
    trial = study.ask()
    point = space.point(draw_from(trial))
    study.tell(trial, [point["init_deadzone_logit"], point["max_bits"]])
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


# what each is made for


def test_qmc_spreads_every_knob_from_the_first_trial_on(space_of):
    """Of 8 scrambled Sobol points one lies in each eighth of a range; at random that is 1 in 400."""
    space = space_of("qmc")
    study = optuna.create_study(sampler=make_sampler("qmc", space), directions=["maximize", "minimize"])
    points = [space.point(draw_from(study.ask())) for _ in range(8)]
    assert sorted(int(8 * (point["init_deadzone_logit"] - 0.5)) for point in points) == list(range(8))
    assert sorted(point["learnable_bit"] for point in points) == [False] * 4 + [True] * 4


@pytest.mark.parametrize(("trials", "startup"), [(4, 6), (18, 6), (24, 8), (30, 10), (500, 10)])
def test_models_start_after_a_third_of_the_trials(space_of, trials, startup):
    space = space_of("tpe", budget={"trials": trials, "epochs": 2})
    sampler = make_sampler("gp", space)
    assert make_sampler("tpe", space)._n_startup_trials == sampler._n_startup_trials == startup
    assert isinstance(sampler._independent_sampler, TPESampler)


@pytest.mark.parametrize(("trials", "concurrent", "size"), [(4, 1, 8), (90, 2, 15), (9000, 4, 50), (90, 64, 64)])
def test_generations_fit_the_budget(space_of, trials, concurrent, size):
    space = space_of("nsga2", budget={"trials": trials, "epochs": 2})
    for name in ("nsga2", "nsga3"):
        assert make_sampler(name, space, concurrent).population_size == size
    assert isinstance(make_sampler("nsga2", space), NSGAIISampler)


@pytest.mark.parametrize(
    ("low", "high", "step", "top"), [(0.0, 1.0, 0.3, 0.9), (1e-3, 1e-2, 1e-3, 1e-2), (2, 7, 2, 6), (2, 8, 2, 8)]
)
def test_the_upper_end_of_a_range_lies_on_its_grid(low, high, step, top):
    kind = Int(type="int", low=low, high=high, step=step) if isinstance(low, int) else None
    domain = kind or Float(type="float", low=low, high=high, step=step)
    assert span(domain) == {"low": low, "high": top, "step": step, "log": False}
    assert type(span(domain)["high"]) is type(low)


# auto

FLAT = {"max_bits": {"type": "int", "low": 4, "high": 8}, "base.lr": {"type": "float", "low": 1e-3, "high": 1e-2}}


@pytest.mark.parametrize(
    ("trials", "objectives", "search", "concurrent", "name"),
    [
        (6, 2, FLAT, 1, "qmc"),
        (7, 2, FLAT, 1, "ehvi"),
        (6, 2, SEARCH, 2, "qmc"),
        (16, 2, FLAT, 16, "qmc"),
        (17, 2, FLAT, 16, "ehvi"),
        (40, 2, SEARCH, 1, "ehvi"),
        (1000, 3, FLAT, 4, "ehvi"),
        (1001, 2, FLAT, 4, "nsga2"),
        (1001, 3, FLAT, 4, "nsga3"),
        (1001, 3, SEARCH, 4, "tpe"),
    ],
)
def test_auto(space_of, trials, objectives, search, concurrent, name):
    space = space_of("auto", objectives, search, budget={"trials": trials, "epochs": 2})
    choice = choose(space, concurrent)
    assert choice.name == name
    assert str(choice).startswith(f"sampler {name} (auto: ")
    assert space.resolved()["sampler"] == "auto"


@pytest.mark.parametrize(
    ("constraints", "objectives", "name"),
    [
        ({"max_gops": 0.1}, 2, "tpe"),
        ({"max_gops": 0.1}, 3, "ehvi"),
        ({"min_accuracy": 0.5, "max_size": "20kB"}, 2, "ehvi"),
    ],
)
def test_auto_takes_ehvi_where_constraints_are_on_objectives(space_of, constraints, objectives, name):
    space = space_of("auto", objectives, constraints=constraints, budget={"trials": 40, "epochs": 2})
    dense = {"accuracy": 0.9, "rate": 32.0, "size": 40_000.0, "gops": 0.2}
    outlook = Outlook(Scale(list(space.file.objectives), dense, 0.1))
    assert choose(space, 1, outlook).name == name


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_was_named_is_taken(space_of, name):
    assert str(choose(space_of(name), 64)) == f"sampler {name}"


def test_the_searcher_takes_what_auto_chose(search_in, space_of):
    searcher = search_in(space_of("auto", search=FLAT, budget={"trials": 9, "epochs": 2}))
    assert searcher.choice.name == "ehvi"
    assert isinstance(searcher.study.sampler, EhviSampler)


def test_there_is_one_list_of_names():
    assert {"auto", *SAMPLERS} == set(get_args(SamplerName))
    shown = " ".join(tuner._parser().format_help().split())
    _, _, rest = shown.partition("--sampler NAME ")
    assert set(rest.partition(" (auto)")[0].replace(" or ", ", ").split(", ")) == {"auto", *SAMPLERS}
