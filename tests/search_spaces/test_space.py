import copy
import itertools
import json
import random
import sys

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compress.methods import method_class
from compress.optimizers import OptimizerKnobs
from compress.penalties import build_penalties
from search_spaces import Space, SpaceError, available
from search_spaces.domains import Categorical, Float, Int
from search_spaces.space import find_space
from tasks import open_task
from trainables.base import recipe_of
from trainables.trainer import Trainer

KNOB = {"type": "int", "low": 4, "high": 6}


def load(raw, changes=None):
    return Space.from_raw("x", "x.yaml", raw, changes)


def first(name, domain):
    return domain.probes()[0]


def last(name, domain):
    return domain.probes()[-1]


def at_random(seed):
    """A draw inside each domain, as a searcher's."""
    source = random.Random(seed)

    def draw(name, domain):
        if isinstance(domain, Categorical):
            return source.choice(domain.choices)
        value = source.uniform(domain.low, domain.high)
        return round(value) if isinstance(domain, Int) else value

    return draw


def assert_can_be_trained(config):
    """Plain data, from which every part of a trial can be built."""
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    recipe = recipe_of(config)
    method_class(recipe.method)(**recipe.knobs)
    build_penalties(recipe.penalties)
    OptimizerKnobs.from_plain(recipe.optimizer)


# the spaces that come with the project


@pytest.mark.parametrize("name", available())
def test_a_space_and_its_embedded_form_can_be_searched(name):
    space = Space.load(name)
    embedded = space.embedded()
    assert (space.name, space.origin) == (name, f"{name}.yaml")
    assert embedded.file.task.data == "digits"
    for form, draw in itertools.product((space, embedded), (first, last, at_random(0), at_random(1))):
        config = form.config(form.point(draw))
        assert_can_be_trained(config)
        assert config["method"] in (space.file.methods or [name.partition("_")[0]]) or name == "smoke"
        assert config["epochs"] == form.file.budget.epochs


def test_available_spaces_are_found_by_name_and_by_path(tmp_path):
    assert {"smoke", "deadzone_resnet20"} <= set(available())
    assert available() == sorted(available())
    assert Space.load("smoke").file == Space.load(find_space("smoke")).file
    path = tmp_path / "mine.yaml"
    path.write_text(find_space("smoke").read_text())
    assert (Space.load(path).name, Space.load(str(path)).origin) == ("mine", "mine.yaml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("smok", "did you mean 'smoke'?"), ("no/such.yaml", "no such file or space"), ("x" * 400, "valid")],
)
def test_a_space_that_is_not_there_names_the_nearest(name, hint):
    with pytest.raises(SpaceError, match="no such file or space") as caught:
        Space.load(name)
    assert hint in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(SpaceError, match=r"bad\.yaml: cannot be read") as caught:
        Space.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "kind"), [("", "NoneType"), ("- a\n", "list"), ("3", "int")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, kind):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=rf"^bad\.yaml: a {kind}, expected a mapping with method, task and budget$"):
        Space.load(path)


# mistakes


def put(raw, path, value):
    """Set ``a/b/0/c``; knobs have dots of their own."""
    *steps, last_step = [int(s) if s.isdigit() else s for s in path.split("/")]
    for step in steps:
        raw = raw[step] if isinstance(raw, list) else raw.setdefault(step, {})
    raw[last_step] = value


MISTAKES = [
    ("method", "dedzone", "method = 'dedzone': no such method; did you mean 'deadzone'?"),
    ("task/network", "resnet200", "task.network = 'resnet200': unknown; did you mean 'resnet20'?"),
    ("task/data", "cifar", "task.data = 'cifar': unknown; did you mean 'cifar10'?"),
    ("penalties/0/name", "grouplasso", "penalties.0.name = 'grouplasso': no such penalty; did you mean 'group_lasso'?"),
    ("penalties/0/lamda", 1, "penalties.0.lamda = 1: unknown key; did you mean 'lambda'?"),
    ("sarch", {}, "sarch = {}: unknown key; did you mean 'search'?"),
    ("task/nework", "x", "task.nework = 'x': unknown key; did you mean 'network'?"),
    ("budget/epoch", 3, "budget.epoch = 3: unknown key; did you mean 'epochs'?"),
    ("resources/devise", "cpu", "resources.devise = 'cpu': unknown key; did you mean 'device'?"),
    ("optimizer/nme", "sgd", "optimizer.nme = 'sgd': unknown key; did you mean 'name'?"),
    ("optimizer/base/lrr", 0.1, "optimizer.base.lrr = 0.1: unknown key; did you mean 'lr'?"),
    ("search/quantile/hi", 1, "search.quantile.hi = 1: unknown key; did you mean 'high'?"),
    ("search/maxbits", KNOB, "search.maxbits: not a knob of deadzone, its penalties or the optimizer; did you mean"),
    ("search/group_laso.lambda", KNOB, "search.group_laso.lambda: not a knob of deadzone"),
    ("search/dz.decay", KNOB, "search.dz.decay: not a knob of deadzone"),
    ("fixed/scal", 3, "fixed.scal: not a knob of deadzone, its penalties or the optimizer; did you mean 'scale'?"),
    ("search/quantile/when", {"statistics": "max"}, "search.quantile.when.statistics: no such knob; did you mean"),
    (
        "search/quantile/when",
        {"learnable_deadzon": 1},
        "search.quantile.when.learnable_deadzon: no such knob; did you mean 'learnable_deadzone'?",
    ),
    ("fixed/quantile", 0.9, "search.quantile: stands under fixed too; it is one or the other"),
    ("search/learnable_bit/when", {"max_bits": 4}, "search.learnable_bit.when: the conditions go round in a circle"),
    ("search/quantile/when", {"quantile": 1}, "search.quantile.when: the conditions go round in a circle"),
    ("constraints", {"max_sise": 4}, "constraints.max_sise = 4: unknown key; did you mean 'max_size'?"),
    (
        "constraints",
        {"max_size": "4 apples"},
        "constraints.max_size = '4 apples': must be a size above 0, such as 800B",
    ),
    ("constraints", {"min_accuracy": 90}, "constraints.min_accuracy = 90: must be less than or equal to 1"),
    ("budget/rungs", {"grace": 1, "protect": "some"}, "budget.rungs.protect = 'some': must be 'all' or 'net'"),
    ("budget/rungs", [1, 2], "budget.rungs = [1, 2]: must be a mapping"),
    ("budget/rungs", {"grace": 1, "facter": 2}, "budget.rungs.facter = 2: unknown key; did you mean 'factor'?"),
    ("budget/rungs", {"grace": 1, "factor": 1}, "budget.rungs.factor = 1: must be greater than or equal to 2"),
    ("budget/rungs", {"grace": 99}, "budget.rungs = {'grace': 99}: grace 99 must be less than the "),
    ("budget/wall_time", "0", "budget.wall_time = '0': must be a time above 0"),
    ("objectives", {"accuracy": "max"}, "objectives = {'accuracy': 'max'}: 2 or 3 objectives, not 1"),
    ("objectives/bops", "min", "objectives = {'accuracy': 'max', 'rate': 'min', 'gops': 'min', 'bops': 'min'}: 2 or 3"),
    ("objectives", {"accuracy": "max", "rat": "min"}, "objectives = {'accuracy': 'max', 'rat': 'min'}: 'rat' is not a"),
    ("objectives/rate", "max", "objectives = {'accuracy': 'max', 'rate': 'max', 'gops': 'min'}: rate is better when"),
    ("search/quantile/low", 2, "search.quantile = "),
    ("search/quantile/type", "flaot", "search.quantile = "),
    ("search/max_bits/low", "4", "search.max_bits.low = '4': must be a whole number"),
    ("seed", 2**40, "seed = 1099511627776: must be less than 4294967296"),
    # the ends of every domain, before anything starts
    ("search/max_bits/low", 1, "search.max_bits = 1: must be a whole number from 2 to 16"),
    ("search/max_bits/high", 17, "search.max_bits = 17: must be a whole number from 2 to 16"),
    ("search/quantile/high", 1.5, "search.quantile = 1.5: must lie in (0, 1]"),
    ("search/layer_bits.0.bits/high", 32, "search.layer_bits = {'layers': 'fc2', 'bits': 32}: bits must be a whole"),
    ("search/scale", {"type": "categorical", "choices": ["tensor", "chanel"]}, "search.scale: stands under fixed too"),
    ("search/statistic/holes/kind/choices", ["max", "mean"], "search.statistic = 'mean': must be quantile or max"),
    ("search/learnable_bit/choices", [True, 0], "search.learnable_bit = 0: must be a boolean"),
    ("search/fixed_bit_val/type", "float", "search.fixed_bit_val = 3.0: must be a whole number"),
    ("search/base.lr/low", -0.1, "optimizer.base.lr = -0.1: must be a finite number from 0"),
    (
        "search/group_lasso.axis",
        {"type": "categorical", "choices": ["in", "up"]},
        "penalties.0.group_lasso.axis = 'up'",
    ),
    ("search/layer_bits.1.bits", KNOB, "search.layer_bits.1.bits: '1' is not there; give it under fixed first"),
    ("fixed/layer_bits", [], "search.layer_bits.0.bits: '0' is not there; give it under fixed first"),
    (
        "fixed/layer_bits",
        [{"layers": "fc2", "bitz": 8}],
        "fixed.layer_bits = {'layers': 'fc2', 'bitz': 8}: an entry has",
    ),
    ("fixed/max_levels.0", 3, "fixed.max_levels.0: not a knob of deadzone"),
    ("fixed/lambda_dz", "0.1", "fixed.lambda_dz = '0.1': must be a number"),
    ("fixed/lambda_dz", float("nan"), "fixed.lambda_dz = nan: must be a finite number"),
    ("fixed/learnable_deadzone", "false", "fixed.learnable_deadzone = 'false': must be a boolean"),
    ("optimizer/name", "sgd", "optimizer.dz.weight_decay = 0.01: decay of this group is decoupled and needs adamw"),
    ("optimizer/base/momentum", 0.9, "optimizer.base.momentum = 0.9: only sgd has momentum"),
    ("search/bit.momentum", {"type": "float", "low": 0, "high": 0.9}, "optimizer.bit.momentum = 0.9: only sgd has"),
    ("optimizer/milestones", [2, 5], "optimizer.milestones = [0.5, 5.0]: must lie in (0, 1)"),
    # the embedded form is the same space, and as strict
    ("embedded", {"serch": {}}, "serch = {}: unknown key; did you mean 'search'?"),
    ("embedded", {"task": {"data": "digit"}}, "task.data = 'digit': unknown; did you mean 'digits'?"),
    ("embedded", {"search": {"max_bits": {"high": 99}}}, "search.max_bits = 99: must be a whole number"),
    ("embedded", {"embedded": {}}, "embedded = {'embedded': {}}: the embedded form has none of its own"),
    ("embedded", [1], "embedded = [1]: must be a mapping"),
    ("a\nb", 1, "a b = 1: unknown key"),
]


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES, ids=[f"{p}={str(v)[:20]}" for p, v, _ in MISTAKES])
def test_a_mistake_is_one_line_with_its_place(raw, refused, path, value, expected):
    put(raw, path, value)
    assert refused(raw).split(": ", 1)[1].startswith(expected)


@pytest.mark.parametrize("section", ["method", "task", "budget"])
def test_what_must_be_given_is_missed(raw, refused, section):
    del raw[section]
    assert refused(raw) == f"x.yaml: {section}: missing, must be given"


def test_the_spaces_own_mistake_comes_before_its_embedded_forms(raw, refused):
    put(raw, "search/max_bits/high", 99)
    assert refused(raw).startswith("x.yaml: search.max_bits")
    put(raw, "search/max_bits/high", 8)
    put(raw, "embedded/search/max_bits/high", 99)
    assert refused(raw).startswith("x.yaml (embedded): search.max_bits")


def test_data_that_holds_itself_is_refused(raw, refused):
    raw["embedded"] = raw
    assert "Circular reference" in refused(raw)


def test_a_network_of_the_users_is_looked_up(small, refused, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text("def build(classes):\n    return None\n")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert load(small(task={"network": "mine:build", "data": "mine:build"})).task.network == "mine:build"
    assert "has no callable 'biuld'" in refused(small(task={"network": "mine:biuld", "data": "digits"}))


def test_momentum_is_sgds(small):
    optimizer = {"name": "sgd", "base": {"lr": 0.1, "momentum": 0.9}}
    space = load(small(optimizer=optimizer, search={"base.momentum": {"type": "float", "low": 0, "high": 0.99}}))
    assert space.config({"base.momentum": 0.5})["optimizer"]["base"] == {"lr": 0.1, "weight_decay": 0, "momentum": 0.5}


SCHEDULED = """
method: baseline
task: {network: mlp, data: digits, start: scratch, batch_size: 100}
objectives: {accuracy: max, rate: min, training_gops: min}
budget: {epochs: 3, images: 300}
optimizer: {name: %s, base: {lr: 1e-2%s}, %s}
"""
TEN_TIMES_LESS_TWICE = [1e-2, 1e-3, 1e-4]


@pytest.mark.parametrize(
    ("name", "more"), [("sgd", ", momentum: 0.9"), ("adam", ", weight_decay: 1e-4"), ("adamw", "")]
)
@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("schedule: multistep, milestones: [0.33, 0.66]", TEN_TIMES_LESS_TWICE),
        ("schedule: multistep, milestones: [1, 2], gamma: 0.1", TEN_TIMES_LESS_TWICE),
        ("schedule: poly, power: 2", [1e-2 * (1 - step / 9) ** 2 for step in (2, 5, 8)]),
        ("schedule: poly", [1e-2 * (1 - step / 9) ** 0.9 for step in (2, 5, 8)]),
    ],
)
def test_optimizers_and_schedules_work_from_yaml(tmp_path, name, more, schedule, rates):
    (tmp_path / "mine.yaml").write_text(SCHEDULED % (name, more, schedule))
    space = Space.load(str(tmp_path / "mine.yaml"))
    task, start = open_task(space.task, tmp_path)
    trainer = Trainer(task, recipe_of(space.config({})), start.state, torch.device("cpu"))
    assert type(trainer.optimizer).__name__.lower() == name
    assert trainer.optimizer.param_groups[0].get("momentum") == (0.9 if name == "sgd" else None)
    assert [trainer.epoch().learning_rate for _ in rates] == pytest.approx(rates)


# points


def test_a_point_is_asked_for_each_knob_that_exists(raw):
    asked = {}

    def draw(name, domain):
        asked[name] = type(domain)
        return first(name, domain)

    point = load(raw).point(draw)
    assert "fixed_bit_val" not in asked
    assert asked["statistic.kind"] is Categorical
    assert (asked["max_bits"], asked["base.lr"]) == (Int, Float)
    assert set(asked) - {"statistic.kind"} == set(point) - {"statistic"}


@pytest.mark.parametrize("seed", range(20))
def test_conditional_knobs_appear_only_under_their_condition(raw, seed):
    point = load(raw).point(at_random(seed))
    assert ("max_bits" in point) == (point["learnable_bit"] is True)
    assert ("fixed_bit_val" in point) == (point["learnable_bit"] is False)
    assert ("quantile" in point) == (point["statistic"] == "quantile")


def test_knobs_follow_what_their_condition_names_whatever_their_order(raw):
    raw["search"] = dict(reversed(raw["search"].items()))
    drawn = list(load(raw).point(first))
    assert drawn.index("learnable_bit") < drawn.index("max_bits")
    assert {"learnable_bit", "max_bits", "statistic"} <= set(drawn)


@pytest.mark.parametrize(
    ("sections", "when", "exists"),
    [
        ({}, {"learnable_bit": True}, True),
        ({}, {"learnable_bit": False}, False),
        ({"fixed": {"learnable_bit": False}}, {"learnable_bit": False}, True),
        ({"fixed": {"scale": "channel"}}, {"scale": ["tensor", "channel"], "learnable_bit": True}, True),
        ({"fixed": {"scale": "channel"}}, {"scale": "tensor"}, False),
        ({"fixed": {"scale": "channel"}}, {"scale": ["channel"], "learnable_bit": False}, False),
        ({"optimizer": {"base": {"lr": 0.5}}}, {"base.lr": 0.5}, True),
        ({"optimizer": {"base": {"lr": 0.5}}}, {"base.lr": 0.1}, False),
        ({}, {"base.lr": 1e-3, "base.momentum": 0}, True),
        ({"penalties": [{"name": "group_lasso", "axis": "out"}]}, {"group_lasso.axis": "out"}, True),
        ({"penalties": [{"name": "group_lasso"}]}, {"group_lasso.axis": "in"}, True),
        ({"fixed": {"layer_bits": [{"layers": "x", "bits": 3}]}}, {"layer_bits.0.bits": 3}, True),
    ],
)
def test_a_condition_may_be_on_what_is_fixed_given_elsewhere_or_a_default(small, sections, when, exists):
    space = load(small(search={"max_bits": {**KNOB, "when": when}}, **sections))
    assert ("max_bits" in space.point(first)) == exists


def test_a_condition_on_a_knob_that_does_not_exist_does_not_hold(small):
    search = {
        "scale": {"type": "categorical", "choices": ["channel"], "when": {"learnable_bit": False}},
        "max_bits": {**KNOB, "when": {"scale": ["tensor", "channel"]}},
    }
    assert load(small(search=search)).point(first) == {}


def test_templates_are_filled_hole_by_hole(small):
    word = {"type": "categorical", "choices": ["quan", "quan"]}
    end = {"type": "categorical", "choices": ["tile"]}
    space = load(small(search={"statistic": {"template": "{a}{b}", "holes": {"a": word, "b": end}}}))
    asked = []

    def draw(name, domain):
        asked.append(name)
        return domain.choices[0]

    assert space.point(draw) == {"statistic": "quantile"}
    assert asked == ["statistic.a", "statistic.b"]


# configs


def test_a_config_lays_a_point_into_knobs_penalties_and_optimizer(raw):
    space = load(raw)
    point = {"max_bits": 6, "layer_bits.0.bits": 3, "group_lasso.lambda": 0.5, "dz.weight_decay": 2.0, "base.lr": 0.004}
    config = space.config(point)
    assert config["knobs"] == {"layer_bits": [{"layers": "fc2", "bits": 3}], "scale": "channel", "max_bits": 6}
    assert config["penalties"] == [{"name": "group_lasso", "lambda_linear": 1e-5, "lambda": 0.5}]
    assert config["optimizer"]["base"] == {"lr": 0.004, "weight_decay": 0.0, "momentum": 0.0}
    assert config["optimizer"]["dz"] == {"lr": 0.01, "weight_decay": 2.0, "momentum": 0.0}
    assert config["optimizer"]["milestones"] == [0.5, 0.75]
    assert (config["epochs"], config["images"], config["seed"], config["point"]) == (4, 200, 1, point)
    assert_can_be_trained(config)


def test_one_config_leaves_nothing_for_the_next(raw):
    space = load(raw)
    before = space.config({})
    space.config({"layer_bits.0.bits": 2, "group_lasso.lambda": 9, "bit.lr": 1})["knobs"]["scale"] = "spoilt"
    assert space.config({}) == before


@pytest.mark.parametrize("draw", [first, last, *map(at_random, range(10))])
def test_every_point_makes_plain_data_that_a_trial_can_be_built_from(raw, draw):
    for space in (load(raw), load(raw).embedded()):
        assert_can_be_trained(space.config(space.point(draw)))


def test_a_config_is_all_that_a_trainer_needs(raw, tmp_path):
    space = load(raw)
    task, _ = open_task(space.task, tmp_path)
    trainer = Trainer(task, recipe_of(space.config(space.point(last))), None, torch.device("cpu"))
    assert (trainer.method.fixed_bit_val, trainer.method.layer_bits[0]["bits"]) == (5, 8)
    assert (len(trainer.penalties), trainer.images) == (1, 200)
    assert trainer.train_epoch() > 0


def test_the_defaults_are_the_optimizers(small):
    space = load(small(search={"base.weight_decay": {"type": "float", "low": 0, "high": 1}}))
    config = space.config({"base.weight_decay": 0.5})
    assert config["optimizer"]["base"] == {"lr": 1e-3, "weight_decay": 0.5, "momentum": 0.0}
    assert config["optimizer"]["name"] == "adamw"


def test_the_task_is_plain_and_complete(raw):
    task = load(raw).task
    assert (task.network, task.network_arguments, task.data) == ("mlp", {"hidden": [16]}, "digits")
    assert (task.start, task.batch_size, task.eval_batch_size) == ("scratch", 64, 100)


def test_without_search_there_is_one_trial(small):
    space = load(small(budget={"epochs": 2, "trials": 9}))
    assert (space.trials, space.point(first)) == (1, {})
    assert load(small(budget={"epochs": 2, "trials": 9}, search={"max_bits": KNOB})).trials == 9


def test_a_resolved_space_is_plain_data_with_every_default(raw):
    resolved = load(raw).resolved()
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved["optimizer"]["bit"] == {"lr": None, "weight_decay": 0.0, "momentum": 0.0}
    assert resolved["budget"]["wall_time"] == 480
    assert resolved["search"]["max_bits"]["log"] is False
    assert "embedded" not in resolved


# changes


def test_a_changed_knob_is_fixed_and_no_longer_searched(raw):
    for name, value in [("max_bits", 5), ("base.lr", 0.5), ("layer_bits.0.bits", 2), ("group_lasso.lambda", 0.1)]:
        space = load(raw, {name: value})
        assert name not in space.file.search
        assert space.file.fixed[name] == value
        assert space.config({}) != load(raw).config({})


def test_the_long_name_of_an_optimizers_knob_ends_its_search_too(raw):
    space = load(raw, {"optimizer.base.lr": 0.5})
    assert "base.lr" not in space.file.search
    assert space.config(space.point(first))["optimizer"]["base"]["lr"] == 0.5


def test_any_section_can_be_changed(raw):
    changes = {
        "seed": 7,
        "budget.trials": 9,
        "task.network": "resnet20",
        "task.batch_size": 32,
        "optimizer.schedule": "cosine",
        "search.max_bits": {"type": "int", "low": 2, "high": 3},
        "fixed.lambda_dz": 0.5,
        "objectives": {"size": "min"},
    }
    del raw["objectives"]["gops"]
    space = load(raw, changes)
    assert (space.file.seed, space.trials, space.task.network, space.task.batch_size) == (7, 9, "resnet20", 32)
    assert space.config({"max_bits": 2})["optimizer"]["schedule"] == "cosine"
    assert space.file.search["max_bits"].probes() == [2, 3]
    assert space.file.fixed["lambda_dz"] == 0.5
    assert space.file.objectives == {"accuracy": "max", "rate": "min", "size": "min"}


def test_changes_are_checked_like_the_rest(raw, refused):
    assert refused(raw, {"max_bits": 99}) == "x.yaml: fixed.max_bits = 99: must be a whole number from 2 to 16"
    assert refused(raw, {"maxbits": 9}).startswith("x.yaml: fixed.maxbits: not a knob of deadzone")
    assert refused(raw, {"budget.epoch": 9}).startswith("x.yaml: budget.epoch = 9: unknown key; did you mean 'epochs'?")
    assert refused(raw, {"fixed.max_bits": 5}).startswith("x.yaml: search.max_bits: stands under fixed too")
    assert refused(raw, {"budget": 3}).startswith("x.yaml: budget = 3: must be a mapping")


@pytest.mark.parametrize("section", ["search", "fixed"])
@pytest.mark.parametrize("value", [[1], 3, None])
def test_changes_do_not_hide_a_broken_section(raw, refused, section, value):
    raw[section] = value
    assert refused(raw, {"lambda_dz": 0.5}) == f"x.yaml: {section} = {value!r}: must be a mapping"


def test_changes_lie_over_the_embedded_form_too(raw):
    changes = {"max_bits": 5, "budget.epochs": 2, "seed": 9, "task.batch_size": 16}
    space = load(raw, changes)
    for form in (space, space.embedded()):
        assert form.file.fixed["max_bits"] == 5
        assert (form.file.budget.epochs, form.file.seed, form.task.batch_size) == (2, 9, 16)


def test_other_data_asked_for_does_not_replace_the_embedded_data(raw):
    raw["embedded"]["task"]["data"] = "digits"
    space = load(raw, {"task.data": "mnist"})
    assert (space.task.data, space.embedded().task.data) == ("mnist", "digits")


def test_the_embedded_section_can_be_changed(raw):
    space = load(raw, {"embedded.seed": 5, "embedded.budget.epochs": 3})
    assert (space.file.seed, space.file.budget.epochs) == (1, 4)
    assert (space.embedded().file.seed, space.embedded().file.budget.epochs) == (5, 3)
    assert space.embedded().task.image_size == 16


# the embedded form


def test_the_embedded_form_is_the_space_with_some_keys_replaced(raw):
    space = load(raw)
    embedded = space.embedded()
    assert embedded.origin == "x.yaml (embedded)"
    assert (embedded.file.budget.epochs, embedded.file.budget.images, embedded.trials) == (8, None, 4)
    assert (embedded.task.image_size, embedded.task.network) == (16, "mlp")
    assert embedded.file.search == space.file.search
    assert embedded.file.embedded == {}


def test_without_an_embedded_section_the_form_is_the_space(small):
    space = load(small(search={"max_bits": KNOB}))
    assert space.embedded().file == space.file


# milestones


@pytest.mark.parametrize("epochs", [2, 4, 40])
def test_whole_milestones_are_epochs_of_the_file_and_move_with_its_budget(raw, epochs):
    assert load(raw, {"budget.epochs": epochs}).config({})["optimizer"]["milestones"] == [0.5, 0.75]


@pytest.mark.parametrize("epochs", [2, 8])
def test_milestones_of_the_file_keep_their_place_in_the_embedded_form(raw, epochs):
    raw["embedded"]["budget"]["epochs"] = epochs
    embedded = load(raw).embedded()
    assert embedded.config({})["optimizer"]["milestones"] == [0.5, 0.75]


def test_milestones_of_the_embedded_section_are_epochs_of_its_own_budget(raw):
    raw["embedded"]["optimizer"] = {"milestones": [2, 6]}
    space = load(raw)
    assert space.config({})["optimizer"]["milestones"] == [0.5, 0.75]
    assert space.embedded().config({})["optimizer"]["milestones"] == [0.25, 0.75]


@pytest.mark.parametrize("budget", [{}, {"epochs": 0}, {"epochs": "x"}, None])
def test_a_budget_that_only_the_changes_give_is_enough(raw, budget):
    raw["budget"] = budget
    del raw["embedded"]
    assert load(raw, {"budget.epochs": 4}).config({})["optimizer"]["milestones"] == [0.5, 0.75]


# anything else


def places(node, path=()):
    """Every path in nested data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([10**30, 10**400, "auto", "max", "deadzone", "a\nb", "{", "{kind}", ":", "x" * 300, "\0", ".x:y"]),
    st.floats(),
    st.text(max_size=5),
)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=4) | scalars, scalars, max_size=2)
mutations = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("drn"), values), min_size=1, max_size=3)
keys = st.sampled_from(
    ["max_bits", "seed", "budget.epochs", "budget", "search", "fixed", "search.max_bits", "fixed.x", "task.network"]
    + ["embedded.seed", "embedded", "optimizer.base.lr", "base.lr", "layer_bits.0.bits", "", ".", "penalties.0", "x.y"]
)


def mutate(raw, where, kind, value):
    """Delete, replace or rename one place of nested data."""
    paths = list(places(raw))
    *steps, key = paths[where % len(paths)]
    for step in steps:
        raw = raw[step]
    if kind == "r" or isinstance(raw, list):
        raw[key] = value
    else:
        moved = raw.pop(key)
        if kind == "n":
            raw[str(value)] = moved


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations=mutations, changes=st.dictionaries(keys, values, max_size=2))
@example(mutations=[(0, "r", "deadzone")], changes={})
@example(mutations=[(0, "r", "deadzone")], changes={"embedded.seed": 3})
def test_any_change_to_a_space_is_a_space_or_one_line(raw, refused, mutations, changes):
    """And every space that is let through can be trained at the ends of its domains."""
    spoilt = copy.deepcopy(raw)
    for where, kind, value in mutations:
        if list(places(spoilt)):
            mutate(spoilt, where, kind, copy.deepcopy(value))
    try:
        space = load(spoilt, changes)
    except SpaceError:
        refused(spoilt, changes)
        return
    for form, draw in itertools.product((space, space.embedded()), (first, last)):
        assert_can_be_trained(form.config(form.point(draw)))


def test_a_condition_that_never_holds_is_refused():
    with pytest.raises(SpaceError, match="learnable_bit = 'no': must be one of its choices, True, False"):
        Space.load(
            "deadzone_resnet20",
            {"search.max_bits": {"type": "int", "low": 4, "high": 6, "when": {"learnable_bit": "no"}}},
        )


@pytest.mark.parametrize("phases", [{"train": 1, "retrain": 2}, {"train": 5, "retrain": -1}])
def test_a_division_of_the_epochs_that_does_not_add_up_is_refused(monkeypatch, phases):
    monkeypatch.setattr(method_class("deadzone"), "phases", lambda self, epochs: phases)
    with pytest.raises(SpaceError, match="does not add up"):
        Space.load("smoke", {"budget.epochs": 4})


# rungs


def with_rungs(method, grace, epochs=20, **knobs):
    """A space of a method with one knob or more, whose first rung is ``grace``."""
    search = {name: value for name, value in knobs.items() if isinstance(value, dict)}
    fixed = {name: value for name, value in knobs.items() if not isinstance(value, dict)}
    raw = {"method": method, "task": {"network": "lenet300", "data": "digits"}, "search": search, "fixed": fixed}
    return load({**raw, "budget": {"epochs": epochs, "rungs": {"grace": grace}}})


def floats(low, high):
    return {"type": "float", "low": low, "high": high}


@pytest.mark.parametrize(
    ("longest", "method", "knobs"),
    [
        (2, "epr", {}),
        (10, "epr", {"warm_up": floats(0.0, 0.5)}),
        (5, "epr", {"warm_up": 0.25}),
        (1, "deadzone", {}),
        (10, "slimming", {}),
        (15, "slimming", {"training_epochs": floats(0, 3), "fine_tuning_epochs": floats(1, 2)}),
        (4, "slimming", {"training_epochs": 1, "fine_tuning_epochs": 1, "pruning_iterations": 4}),
    ],
    ids=str,
)
def test_no_rung_stands_where_a_trial_may_still_warm_up(longest, method, knobs):
    assert with_rungs(method, longest, **knobs).file.budget.rungs.grace == longest
    if longest > 1:
        with pytest.raises(
            SpaceError, match=rf"budget.rungs.grace = {longest - 1}: must be {longest} at least, {method}"
        ):
            with_rungs(method, longest - 1, **knobs)


def test_the_line_names_the_knob_that_warms_up_longest():
    with pytest.raises(SpaceError, match=r"epr warms up for up to 10 of 20 epochs \(warm_up\)"):
        with_rungs("epr", 3, warm_up=floats(0.0, 0.5))


@pytest.mark.parametrize(
    ("epochs", "ns", "least"), [(8, [0], 1), (8, [3], 7), (16, [3], 13), (8, {"type": "int", "low": 0, "high": 3}, 7)]
)
def test_no_rung_stands_before_a_codebook_was_pruned_and_trained(epochs, ns, least):
    book = {"layer": "layer1[2]", "prune_epochs": [6], "prune_ns": [0] if isinstance(ns, dict) else ns}
    raw = {
        "method": "codebook",
        "task": {"network": "resnet20", "data": "digits", "image_size": 16},
        "budget": {"epochs": 8, "rungs": {"grace": 1}},
        "fixed": {"codebooks": [book]},
        "search": {"codebooks.0.prune_ns.0": ns} if isinstance(ns, dict) else {},
    }

    def graced(grace):
        changes = {"budget.epochs": epochs, "budget.rungs": {"grace": grace}}
        return Space.from_raw("c", "c.yaml", copy.deepcopy(raw), changes)

    assert graced(least).file.budget.rungs.grace == least
    if least > 1:
        with pytest.raises(SpaceError, match=rf"grace = {least - 1}: must be {least} at least, codebook warms up"):
            graced(least - 1)


# what belongs to one method


CODEBOOKS = {
    "method": "codebook",
    "task": {"network": "resnet20", "data": "digits", "image_size": 16, "start": "scratch"},
    "objectives": {"accuracy": "max", "sent_bits_coded": "min", "gops_device": "min"},
    "budget": {"epochs": 20},
    "fixed": {
        "codebooks": [{"layer": "layer1[2]", "codebook_size": 16, "prune_epochs": [5, 0.5], "prune_ns": [2, 2]}],
        "prune_channels": [{"layer": "layer1[0].conv1", "prune_epochs": [10], "prune_ns": [1]}],
    },
    "search": {
        "codebooks.0.codebook_size": {"type": "categorical", "choices": [8, 16]},
        "codebooks.0.beta": {
            "template": "LinearBeta({a}, 1)",
            "holes": {"a": {"type": "float", "low": 0.1, "high": 0.5}},
        },
        "codebook.lr": {"type": "float", "low": 1e-3, "high": 1e-2},
    },
    "embedded": {"budget": {"epochs": 8}},
}


def _codebooks(**changes):
    return Space.from_raw("c", "c.yaml", {**copy.deepcopy(CODEBOOKS), **changes})


@pytest.mark.parametrize("epochs", [20, 40, 4])
def test_epochs_of_codebooks_are_those_of_the_file_and_rescale_with_the_budget(epochs):
    space = Space.from_raw("c", "c.yaml", copy.deepcopy(CODEBOOKS), {"budget.epochs": epochs})
    for found in (space, space.embedded()):
        knobs = found.config({})["knobs"]
        assert knobs["codebooks"][0]["prune_epochs"] == [0.25, 0.5]
        assert knobs["prune_channels"][0]["prune_epochs"] == [0.5]


def test_a_point_leads_into_the_list_of_codebooks():
    config = _codebooks().config(
        {"codebooks.0.codebook_size": 8, "codebooks.0.beta": "LinearBeta(0.2, 1)", "codebook.lr": 5e-3}
    )
    assert config["knobs"]["codebooks"][0]["codebook_size"] == 8
    assert config["knobs"]["codebooks"][0]["beta"] == "LinearBeta(0.2, 1)"
    assert config["optimizer"]["codebook"]["lr"] == 5e-3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"objectives": {"accuracy": "max", "sent_bits": "min"}},
            "'sent_bits' is not a reported metric; did you mean 'mean_bits'",
        ),
        (
            {"fixed": {"codebooks": [{"layer": "layer1[2]", "codebook_size": 1}]}},
            r"codebooks\.0\.codebook_size = 1: must be",
        ),
        (
            {"fixed": {"codebooks": [{"prune_epochs": [25], "prune_ns": [1]}]}},
            r"codebooks\.0\.prune_epochs = \[25(\.0)?\]: must lie in \[0, 1\)",
        ),
    ],
)
def test_mistakes_of_codebooks_are_one_line(changes, line):
    with pytest.raises(SpaceError, match=line) as caught:
        _codebooks(**changes)
    assert "\n" not in str(caught.value)


def test_bits_sent_are_no_objective_of_a_method_that_sends_none():
    with pytest.raises(SpaceError, match=r"^c\.yaml: objectives\.sent_bits_fixed: baseline does not report it$"):
        _codebooks(
            method="baseline",
            fixed={},
            search={},
            embedded={},
            objectives={"accuracy": "max", "sent_bits_fixed": "min"},
        )
