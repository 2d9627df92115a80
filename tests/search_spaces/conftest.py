import copy

import pytest

from search_spaces import Space, SpaceError

RAW = {
    "method": "deadzone",
    "task": {"network": {"name": "mlp", "hidden": [16]}, "data": "digits", "start": "scratch", "batch_size": 64},
    "objectives": {"accuracy": "max", "rate": "min", "gops": "min"},
    "budget": {"trials": 4, "epochs": 4, "images": 200, "wall_time": "8m"},
    "resources": {"cpu": 1, "device": "cpu"},
    "search": {
        "init_deadzone_logit": {"type": "float", "low": 0.5, "high": 1.5},
        "learnable_bit": {"type": "categorical", "choices": [True, False]},
        "max_bits": {"type": "int", "low": 4, "high": 8, "when": {"learnable_bit": True}},
        "fixed_bit_val": {"type": "int", "low": 3, "high": 5, "when": {"learnable_bit": False}},
        "statistic": {
            "template": "{kind}",
            "holes": {"kind": {"type": "categorical", "choices": ["max", "quantile"]}},
        },
        "quantile": {"type": "float", "low": 0.9, "high": 1, "when": {"statistic": ["quantile"]}},
        "layer_bits.0.bits": {"type": "int", "low": 2, "high": 8},
        "group_lasso.lambda": {"type": "float", "low": 1e-3, "high": 1, "log": True},
        "dz.weight_decay": {"type": "float", "low": 1e-2, "high": 10, "log": True},
        "base.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "step": 1e-3},
    },
    "fixed": {"layer_bits": [{"layers": "fc2", "bits": 8}], "scale": "channel"},
    "penalties": [{"name": "group_lasso", "lambda_linear": 1e-5}],
    "optimizer": {
        "name": "adamw",
        "base": {"lr": 1e-3},
        "dz": {"lr": 1e-2},
        "schedule": "multistep",
        "milestones": [2, 3],
    },
    "seed": 1,
    "sampler": "random",
    "embedded": {"task": {"image_size": 16}, "budget": {"epochs": 8, "images": None}},
}
SMALL = {"method": "deadzone", "task": {"network": "mlp", "data": "digits"}, "budget": {"epochs": 4}}


@pytest.fixture
def raw():
    """A space that uses every part of the grammar."""
    return copy.deepcopy(RAW)


@pytest.fixture
def small():
    """The least a space must hold, with what is given over it."""

    def make(**sections):
        return {**copy.deepcopy(SMALL), **sections}

    return make


@pytest.fixture
def refused():
    """The one line a space is refused with."""

    def line(raw, changes=None):
        with pytest.raises(SpaceError) as caught:
            Space.from_raw("x", "x.yaml", raw, changes)
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).startswith(("x.yaml: ", "x.yaml (embedded): "))
        return str(caught.value)

    return line
