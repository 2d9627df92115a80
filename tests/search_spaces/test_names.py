import pytest

from compress.methods import method_class
from compress.optimizers import GROUPS
from search_spaces.names import Settings, method_words, place, valid_names

DEADZONE = method_class("deadzone")
LASSO = [{"name": "group_lasso"}]


@pytest.fixture
def settings():
    knobs = {"layer_bits": [{"layers": "a", "bits": 4}, {"layers": "b", "bits": 5}], "scale": "tensor"}
    return Settings(knobs, [{"name": "group_lasso", "axis": "in"}], {"base": {"lr": 0.1}})


def test_each_name_leads_to_its_place(settings):
    point = {
        "scale": "channel",
        "max_bits": 6,
        "layer_bits.1.bits": 2,
        "group_lasso.lambda": 0.5,
        "base.lr": 0.2,
        "dz.weight_decay": 3,
    }
    laid = settings.with_point(point)
    assert laid.knobs["layer_bits"] == [{"layers": "a", "bits": 4}, {"layers": "b", "bits": 2}]
    assert (laid.knobs["scale"], laid.knobs["max_bits"]) == ("channel", 6)
    assert laid.penalties == [{"name": "group_lasso", "axis": "in", "lambda": 0.5}]
    assert laid.optimizer == {"base": {"lr": 0.2}, "dz": {"weight_decay": 3}}
    assert all(laid.value(name, None) == value for name, value in point.items())


def test_laying_a_point_leaves_the_settings_alone(settings):
    settings.with_point({"layer_bits.0.bits": 9, "group_lasso.axis": "out", "dz.lr": 1})
    assert settings.knobs["layer_bits"][0]["bits"] == 4
    assert settings.penalties[0]["axis"] == "in"
    assert "dz" not in settings.optimizer


def test_a_list_and_a_path_into_it_leave_the_point_alone():
    point = {"layer_bits": [{"layers": "a", "bits": 4}], "layer_bits.0.bits": 2}
    assert Settings().with_point(point).knobs == {"layer_bits": [{"layers": "a", "bits": 2}]}
    assert point["layer_bits"] == [{"layers": "a", "bits": 4}]


def test_a_whole_entry_of_a_list_can_be_replaced(settings):
    laid = settings.with_point({"layer_bits.0": {"layers": "c", "bits": 3}})
    assert laid.knobs["layer_bits"][0] == {"layers": "c", "bits": 3}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("layer_bits.2.bits", "'2' is not there; give it under fixed first"),
        ("layer_bits.x.bits", "'x' is not there"),
        ("layer_bits.2", "'2' is no entry of a list of 2"),
        ("layer_bits.²", "'²' is no entry of a list of 2"),
        ("layer_bits.-1", "'-1' is no entry of a list of 2"),
        ("exclude_layers.0", "'exclude_layers' is not there"),
        ("scale.0", "'0' leads into a str, which has no parts"),
        ("layer_bits.0.bits.x", "'x' leads into a int, which has no parts"),
        ("base.lr.x", "'x' leads into a float, which has no parts"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(settings, name, reason):
    with pytest.raises(LookupError) as caught:
        settings.with_point({name: 1})
    assert caught.value.args[0].startswith(f"{name}: {reason}")


def test_what_is_not_set_has_its_default(settings):
    assert settings.value("max_bits", 8) == 8
    assert settings.value("dz.lr", None) is None
    assert settings.value("group_lasso.lambda", 1.0) == 1.0
    assert settings.value("layer_bits.7.bits", "none") == "none"
    assert settings.value("scale", "other") == "tensor"
    assert settings.optimizer == {"base": {"lr": 0.1}}


def test_valid_names_are_knobs_penalties_and_groups_with_their_defaults():
    names = valid_names(DEADZONE, LASSO)
    assert names["max_bits"] == 8
    assert names["group_lasso.lambda"] == 1.0
    assert names["group_lasso.axis"] == "in"
    assert (names["dz.weight_decay"], names["base.lr"]) == (0.0, None)
    assert "group_lasso.lambda_" not in names
    assert not any(name.startswith("group_lasso") for name in valid_names(DEADZONE, []))
    assert valid_names(method_class("uniform"), []).keys() == {
        *method_class("uniform").knobs(),
        *(f"{group}.{knob}" for group in GROUPS for knob in ("lr", "weight_decay", "momentum")),
    }


@pytest.mark.parametrize("name", ["max_bits", "layer_bits.0.bits", "group_lasso.lambda", "bit.weight_decay"])
def test_names_that_resolve(name):
    assert place(name, DEADZONE, LASSO)


@pytest.mark.parametrize("name", ["maxbits", "group_lasso.lamda", "bit.decay", "bit", "layer.0", "base.lr.x", "", "."])
def test_names_that_do_not(name):
    assert not place(name, DEADZONE, LASSO)


def test_a_penalty_that_is_not_asked_for_has_no_knobs():
    assert not place("group_lasso.lambda", DEADZONE, [])


def test_distillation_is_searched_by_its_name():
    penalties = [*LASSO, {"name": "distill", "temperature": 2}]
    assert place("distill.lambda", DEADZONE, penalties)
    assert place("distill.temperature", DEADZONE, penalties)
    assert not place("distill.lambda", DEADZONE, LASSO)
    assert valid_names(DEADZONE, penalties)["distill.temperature"] == 4.0
    laid = Settings(penalties=penalties).with_point({"distill.lambda": 0.5, "group_lasso.lambda": 2})
    assert laid.penalties == [
        {"name": "group_lasso", "lambda": 2},
        {"name": "distill", "temperature": 2, "lambda": 0.5},
    ]


def test_the_words_of_the_methods_are_their_files():
    assert {"baseline", "uniform", "deadzone"} <= set(method_words())
    assert all(method_class(word) for word in method_words())
    assert method_words() == sorted(method_words())
