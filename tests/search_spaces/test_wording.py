from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from compress.optimizers import OptimizerKnobs
from search_spaces.sections import SpaceFile, filled
from search_spaces.wording import first_error

KNOB = {"type": "int", "low": 2, "high": 4}


@pytest.fixture
def line(small):
    """How a whole file's first mistake is put."""

    def put(**sections):
        with pytest.raises(ValidationError) as caught:
            SpaceFile.model_validate(small(**sections))
        return first_error("x.yaml: ", caught.value)

    return put


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"serch": 1}, "serch = 1: unknown key; did you mean 'search'?"),
        ({"zzz": 1}, "zzz = 1: unknown key; valid: budget, constraints, embedded, fixed"),
        ({"budget": {"epochs": 1, "trails": 3}}, "budget.trails = 3: unknown key; did you mean 'trials'?"),
        ({"resources": {"cpus": 3}}, "resources.cpus = 3: unknown key; did you mean 'cpu'?"),
        (
            {"task": {"network": "mlp", "data": "x", "batchsize": 3}},
            "task.batchsize = 3: unknown key; did you mean 'batch_size'?",
        ),
        ({"search": {"k": {**KNOB, "hihg": 3}}}, "search.k.hihg = 3: unknown key; did you mean 'high'?"),
        (
            {"search": {"k": {"type": "categorical", "choises": [1], "choices": [1]}}},
            "search.k.choises = [1]: unknown key; did you mean 'choices'?",
        ),
        (
            {"search": {"k": {"template": "{a}", "holes": {"a": {**KNOB, "lwo": 1}}}}},
            "search.k.holes.a.lwo = 1: unknown key; did you mean 'low'?",
        ),
        (
            {"search": {"k": {"template": "{a}", "hole": 1, "holes": {"a": KNOB}}}},
            "search.k.hole = 1: unknown key; did you mean 'holes'?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_at_its_level(line, sections, expected):
    assert line(**sections).startswith(f"x.yaml: {expected}")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"method": 3}, "method = 3: must be a string"),
        ({"budget": 3}, "budget = 3: must be a mapping"),
        ({"budget": {}}, "budget.epochs: missing, must be given"),
        ({"budget": {"epochs": "4"}}, "budget.epochs = '4': must be a whole number"),
        ({"budget": {"epochs": 0}}, "budget.epochs = 0: must be greater than or equal to 1"),
        ({"budget": {"epochs": 1, "rungs": [1]}}, "budget.rungs = [1]: must be a mapping"),
        ({"budget": {"epochs": 1, "wall_time": "x"}}, "budget.wall_time = 'x': must be a time such as 90s"),
        ({"constraints": {"max_size": -1}}, "constraints.max_size = -1: must be a size above 0, such as 800B, 40kB"),
        ({"objectives": {"accuracy": "maximum"}}, "objectives.accuracy = 'maximum': must be 'max' or 'min'"),
        ({"objectives": {"accuracy": "max"}}, "objectives = {'accuracy': 'max'}: 2 or 3 objectives, not 1"),
        ({"task": {"network": 3, "data": "x"}}, "task.network = 3: must be a string or a mapping"),
        ({"task": {"network": {}, "data": "x"}}, "task.network = {}: a mapping must have the key name, a text"),
        ({"search": {"k": 3}}, "search.k = 3: needs type: float, int or categorical, or a template"),
        ({"search": {"k": {**KNOB, "low": 9}}}, "search.k = {'type': 'int', 'low': 9, 'high': 4}: low must not be"),
        ({"search": {"k": {**KNOB, "low": 0.5}}}, "search.k.low = 0.5: must be a whole number"),
        ({"search": {"k": {"type": "int", "low": 1}}}, "search.k.high: missing, must be given"),
        (
            {"search": {"k": {"type": "categorical", "choices": [[1]]}}},
            "search.k.choices.0 = [1]: must be a boolean or a whole number or a number or a string",
        ),
        (
            {"search": {"k": {**KNOB, "when": {"o": {}}}}},
            "search.k.when.o = {}: must be a boolean or a whole number or a number or a string or a list",
        ),
        ({"search": None}, "search = None: must be a mapping"),
        ({"penalties": {}}, "penalties = {}: must be a list"),
        ({"penalties": [3]}, "penalties.0 = 3: must be a mapping"),
        ({"seed": "x"}, "seed = 'x': must be a whole number"),
    ],
)
def test_a_mistake_is_key_value_and_rule(line, sections, expected):
    assert line(**sections).startswith(f"x.yaml: {expected}")


def test_an_unknown_key_comes_before_what_it_leaves_missing(line):
    assert "budget.epoch = 4: unknown key; did you mean 'epochs'?" in line(budget={"epoch": 4})


def test_nothing_is_said_of_the_classes_behind_a_section(line):
    assert line(budget=3) == "x.yaml: budget = 3: must be a mapping"


def test_long_values_are_cut(line):
    text = line(method=["x" * 500])
    assert text == f"x.yaml: method = ['{'x' * 78}...: must be a string"


def error_of(kind, plain):
    with pytest.raises(ValidationError) as caught:
        filled(kind, plain)
    return caught.value


def test_names_known_to_the_caller_are_offered():
    @dataclass
    class Knobs:
        strength: float = 1.0

    error = error_of(Knobs, {"strenght": 2})
    assert first_error("x.yaml: fixed.", error, {(): ["strength"]}) == (
        "x.yaml: fixed.strenght = 2: unknown key; did you mean 'strength'?"
    )


def test_an_error_that_names_its_knob_is_not_named_twice():
    error = error_of(OptimizerKnobs, {"schedule": "x"})
    assert first_error("x.yaml: optimizer.", error).startswith("x.yaml: optimizer.schedule = 'x': must be one of")
