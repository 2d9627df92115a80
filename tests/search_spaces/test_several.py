from __future__ import annotations

import copy

import pytest

from search_spaces import Space, SpaceError
from search_spaces.domains import Categorical
from search_spaces.several import Several

FLOAT = {"type": "float", "low": 1e-3, "high": 1e-2}
RAW = {
    "methods": {
        "deadzone": {"search": {"max_bits": {"type": "int", "low": 3, "high": 8}}, "fixed": {"learnable_bit": False}},
        "epr": {
            "search": {
                "lambda_RD": {"type": "float", "low": 0.3, "high": 10, "log": True},
                "prior": {"type": "categorical", "choices": ["grid", "logistic"]},
                "steps": {"type": "categorical", "choices": ["tensor", "channel"], "when": {"prior": "logistic"}},
            },
            "optimizer": {"step": {"lr": 0.5}},
        },
    },
    "task": {"network": "mlp", "data": "digits"},
    "budget": {"trials": 8, "epochs": 10},
    "search": {"base.lr": FLOAT},
    "points": [{"method": "epr", "lambda_RD": 1, "prior": "grid"}, {"method": "deadzone"}],
}


@pytest.fixture
def several():
    def make(changes=None, **sections):
        return Space.from_raw("all", "all.yaml", {**copy.deepcopy(RAW), **sections}, changes)

    return make


def drawn(**values):
    """Answers by name, else with the first value."""
    return lambda name, domain: values.get(name.replace(".", "__"), domain.probes()[0])


def test_the_method_is_a_knob_and_the_others_hang_from_it(several):
    space = several()
    assert isinstance(space, Several)
    names = {"method", "base.lr", "deadzone.max_bits", "epr.lambda_RD", "epr.prior", "epr.steps"}
    assert set(space.draws()) == set(space.file.search) == names
    assert space.draws()["method"] == Categorical(type="categorical", choices=["deadzone", "epr"])
    assert space.file.search["epr.steps"].when == {"prior": "logistic", "method": "epr"}


def test_a_point_has_the_knobs_of_its_method_by_their_own_names(several):
    space = several()
    assert space.point(drawn()) == {"method": "deadzone", "max_bits": 3, "base.lr": 1e-3}
    point = space.point(drawn(method="epr", epr__prior="logistic"))
    assert point == {"method": "epr", "lambda_RD": 0.3, "prior": "logistic", "steps": "tensor", "base.lr": 1e-3}


def test_a_config_is_that_of_the_method(several):
    space = several()
    config = space.config({"method": "epr", "lambda_RD": 2.0, "prior": "grid", "base.lr": 5e-3})
    assert (config["method"], config["knobs"]) == ("epr", {"lambda_RD": 2.0, "prior": "grid"})
    assert (config["optimizer"]["step"]["lr"], config["optimizer"]["base"]["lr"]) == (0.5, 5e-3)
    assert config["point"] == {"method": "epr", "lambda_RD": 2.0, "prior": "grid", "base.lr": 5e-3}
    assert space.config({"method": "deadzone", "max_bits": 4})["knobs"] == {"learnable_bit": False, "max_bits": 4}


def test_points_say_their_method_and_are_named_as_they_are_asked_for(several):
    expected = [{"method": "epr", "epr.lambda_RD": 1.0, "epr.prior": "grid"}, {"method": "deadzone"}]
    assert several().file.points == expected


def test_it_is_read_again_from_what_it_resolves_to(several):
    space = several()
    again = Space.from_raw("all", "all.yaml", space.resolved())
    assert again.file.search == space.file.search
    assert again.file.points == space.file.points
    assert again.resolved() == space.resolved()


def test_flags_reach_a_block_and_all_of_them(several):
    space = several({"methods.epr.fixed.warm_up": 0.5, "base.lr": 2e-3, "budget.epochs": 4})
    config = space.config({"method": "epr"})
    assert (config["knobs"]["warm_up"], config["optimizer"]["base"]["lr"], config["epochs"]) == (0.5, 2e-3, 4)
    assert "base.lr" not in space.draws()


def test_its_embedded_form_is_one_too(several):
    space = several(embedded={"budget": {"epochs": 5}}).embedded()
    assert isinstance(space, Several)
    assert space.config({"method": "epr"})["epochs"] == 5


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"methods": {"deadzon": {}}}, "method = 'deadzon': no such method; did you mean 'deadzone'?"),
        ({"methods": {"deadzone": {"serch": {}}}}, "methods.deadzone.serch: unknown key; did you mean 'search'?"),
        ({"methods": {"deadzone": 3}}, "methods.deadzone = 3: must be a mapping"),
        ({"methods": ["deadzone"]}, "methods = ['deadzone']: must be a mapping of a block a method"),
        ({"method": "epr"}, "method = 'epr': stands beside methods; it is one or the other"),
        ({"search": {"max_bits": FLOAT}}, "max_bits: not a knob of epr"),
        ({"points": [{"max_bits": 4}]}, "points.0.method = 'None': must be one of deadzone, epr"),
        ({"points": [{"method": "epr", "max_bits": 4}]}, "points.0.max_bits = 4: not searched"),
        (
            {"points": [{"method": "deadzone", "max_bits": 99}]},
            "points.0.max_bits = 99: must be a whole number from 3 to 8",
        ),
        ({"objectives": {"accuracy": "max"}}, "2 or 3 objectives, not 1"),
        (
            {"budget": {"epochs": 30, "rungs": {"grace": 1}}},
            "must be 3 at least, epr warms up for up to 3 of 30 epochs",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(several, sections, expected):
    with pytest.raises(SpaceError) as caught:
        several(**sections)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_space_that_comes_with_it():
    space = Space.load("all_lenet300")
    assert list(space.views) == ["deadzone", "uniform", "epr"]
    assert space.embedded().file.task.data == "digits"
