import datetime

import pytest

from compress.optimizers import OptimizerKnobs
from search_spaces.checks import check_names, check_penalty, check_plain, in_progress, optimizer_knobs
from search_spaces.sections import SpaceFile
from search_spaces.values import SpaceError


def line(function, *arguments):
    with pytest.raises(SpaceError) as caught:
        function(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_plain_data_passes():
    check_plain("x.yaml", {"a": [1, 0.5, None, True, "x", {"b": ()}]})


@pytest.mark.parametrize("value", [datetime.date(2020, 1, 1), {1, 2}, b"x", object(), 10**5000], ids=type)
def test_what_json_does_not_know_is_refused(value):
    assert line(check_plain, "x.yaml", {"a": value}).startswith("x.yaml: holds more than numbers, texts, lists")


def test_data_that_holds_itself_is_refused():
    data = {}
    data["a"] = [data]
    assert "Circular" in line(check_plain, "x.yaml", data)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"method": "dedzone"}, "method = 'dedzone': no such method; did you mean 'deadzone'?"),
        ({"method": ""}, "method = '': no such method; valid: "),
        ({"method": "os"}, "method = 'os': no such method; valid: "),
        ({"method": ".deadzone"}, "method = '.deadzone': no such method; did you mean 'deadzone'?"),
        ({"task": {"network": "mpl", "data": "digits"}}, "task.network = 'mpl': unknown; did you mean 'mlp'?"),
        (
            {"task": {"network": {"name": "mpl"}, "data": "digits"}},
            "task.network = 'mpl': unknown; did you mean 'mlp'?",
        ),
        ({"task": {"network": "nowhere:f", "data": "digits"}}, "task.network = 'nowhere:f': module 'nowhere' cannot"),
        ({"task": {"network": ":f", "data": "digits"}}, "task.network = ':f': module '' cannot be imported"),
        ({"task": {"network": "mlp", "data": "digit"}}, "task.data = 'digit': unknown; did you mean 'digits'?"),
        ({"penalties": [{"name": "group_laso"}]}, "penalties.0.name = 'group_laso': no such penalty; did you mean"),
        (
            {"penalties": [{"name": "group_lasso"}, {}]},
            "penalties.1.name = 'None': no such penalty; valid: distill, group_lasso",
        ),
        ({"penalties": [{"name": []}]}, "penalties.0.name = '[]': no such penalty"),
    ],
)
def test_what_is_named_must_be_there(small, sections, expected):
    file = SpaceFile.model_validate(small(**sections))
    assert line(check_names, "x.yaml", file).startswith(f"x.yaml: {expected}")


def test_what_is_there_passes(small):
    check_names("x.yaml", SpaceFile.model_validate(small(penalties=[{"name": "group_lasso"}])))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"lamda": 1}, "p.lamda = 1: unknown key; did you mean 'lambda'?"),
        ({"lambda": "x"}, "p.lambda = 'x': must be a number"),
        ({"lambda": None}, "p.lambda = None: must be a number"),
        ({"lambda": True}, "p.lambda = True: must be a number"),
        ({"lambda_conv": [1]}, "p.lambda_conv = [1]: must be a number"),
        ({"lambda": -1}, "p.group_lasso.lambda = -1.0: must be a finite number from 0"),
        ({"lambda_linear": float("nan")}, "p.lambda_linear = nan: must be a finite number"),
        ({"axis": "up"}, "p.group_lasso.axis = 'up': must be in or out"),
        ({"lambda_": 1}, "p.group_lasso.lambda_ = 1: not a knob, one of lambda,"),
    ],
)
def test_a_knob_of_a_penalty_is_checked_in_its_own_words(spec, expected):
    assert line(check_penalty, "p.", {"name": "group_lasso", **spec}).startswith(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"lamda": 1}, "p.lamda = 1: unknown key; did you mean 'lambda'?"),
        ({"lambda": -1}, "p.distill.lambda = -1.0: must be a finite number from 0"),
        ({"temperature": 0}, "p.distill.temperature = 0.0: must be a finite number above 0"),
        ({"temperature": "hot"}, "p.temperature = 'hot': must be a number"),
    ],
)
def test_a_knob_of_distillation_is_checked_in_its_own_words(spec, expected):
    assert line(check_penalty, "p.", {"name": "distill", **spec}).startswith(expected)


def test_a_penalty_that_can_be_built_passes():
    check_penalty("p.", {"name": "distill", "lambda": 0, "temperature": 8})
    check_penalty("p.", {"name": "group_lasso", "lambda": 1, "lambda_conv": 0, "axis": "out"})


def test_whole_milestones_are_epochs_and_fractions_are_progress():
    assert in_progress({"milestones": [1, 2, 0.75, 4]}, 4)["milestones"] == [0.25, 0.5, 0.75, 1.0]
    assert in_progress({"milestones": [9, 0, True]}, 4)["milestones"] == [9, 0, True]
    assert in_progress({"name": "sgd"}, 4) == {"name": "sgd"}
    assert in_progress({"milestones": 3}, 4) == {"milestones": 3}
    assert in_progress([1], 4) == [1]


def test_the_optimizer_is_built_with_its_milestones_in_progress():
    knobs = optimizer_knobs("x.yaml", {"schedule": "multistep", "milestones": [2, 3]}, 4)
    assert knobs == OptimizerKnobs(schedule="multistep", milestones=(0.5, 0.75))


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"nam": "sgd"}, "nam = 'sgd': unknown key; did you mean 'name'?"),
        ({"base": {"lrr": 0.1}}, "base.lrr = 0.1: unknown key; did you mean 'lr'?"),
        ({"dz": {"weight_deky": 0.1}}, "dz.weight_deky = 0.1: unknown key; did you mean 'weight_decay'?"),
        ({"base": 3}, "base = 3: must be a mapping"),
        ({"base": {"lr": "0.1"}}, "base.lr = '0.1': must be a number"),
        ({"base": {"lr": None}}, "base.lr = None: must be given"),
        ({"base": {"lr": -1}}, "base.lr = -1.0: must be a finite number from 0"),
        ({"base": {"lr": float("inf")}}, "base.lr = inf: must be a finite number"),
        ({"name": "adan"}, "name = 'adan': must be one of adamw, adam, sgd"),
        ({"schedule": "step"}, "schedule = 'step': must be one of cosine, constant, multistep, poly"),
        ({"milestones": [2, 4]}, "milestones = [0.5, 1.0]: must lie in (0, 1), the share of the epochs done"),
        ({"milestones": [5]}, "milestones = [5.0]: must lie in (0, 1)"),
        ({"milestones": ["2"]}, "milestones.0 = '2': must be a number"),
        ({"milestones": 2}, "milestones = 2: must be a list"),
        ({"milestones": [10**400]}, "milestones.0 = 1000"),
        ({"base": {"lr": 0.1, "momentum": 0.9}}, "base.momentum = 0.9: only sgd has momentum"),
        ({"name": "adam", "dz": {"weight_decay": 0.1}}, "dz.weight_decay = 0.1: decay of this group is decoupled"),
        ({"name": "sgd", "bit": {"weight_decay": 0.1}}, "bit.weight_decay = 0.1: decay of this group is decoupled"),
    ],
)
def test_an_optimizer_that_cannot_be_built_is_refused(plain, expected):
    assert line(optimizer_knobs, "x.yaml", plain, 4).startswith(f"x.yaml: optimizer.{expected}")
