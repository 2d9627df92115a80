import pytest
from pydantic import ValidationError

from compress.methods import method_class
from compress.metrics import METRIC_NAMES
from compress.optimizers import Group, OptimizerKnobs
from search_spaces.names import method_words
from search_spaces.sections import DIRECTIONS, Budget, Resources, SpaceFile, TaskSection, filled


def wrong(kind, plain):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(plain)
    return {".".join(map(str, e["loc"])) for e in caught.value.errors()}


def test_every_objective_is_a_reported_metric():
    own = {name for word in method_words() for name in method_class(word).objectives}
    assert set(DIRECTIONS) <= {*METRIC_NAMES, *own}
    assert set(DIRECTIONS.values()) == {"max", "min"}
    assert {"parameters", "macs", "gops", "training_gops"} <= {n for n, way in DIRECTIONS.items() if way == "min"}


def test_defaults_are_those_of_the_documentation():
    file = SpaceFile.model_validate(
        {"method": "uniform", "task": {"network": "mlp", "data": "digits"}, "budget": {"epochs": 2}}
    )
    assert file.objectives == {"accuracy": "max", "rate": "min"}
    assert (file.budget.trials, file.budget.images, file.budget.wall_time) == (16, None, None)
    assert (file.task.start, file.task.start_epochs, file.task.batch_size) == ("auto", 20, 128)
    assert (file.resources.device, file.resources.precision, file.resources.gpu) == ("auto", "float32", None)
    assert (file.search, file.fixed, file.penalties, file.seed, file.sampler) == ({}, {}, [], 0, "auto")


@pytest.mark.parametrize(
    ("network", "name", "arguments"),
    [
        ("resnet20", "resnet20", {}),
        ("mine:build", "mine:build", {}),
        ({"name": "mlp", "hidden": [3]}, "mlp", {"hidden": [3]}),
        ({"name": "mlp"}, "mlp", {}),
    ],
)
def test_a_network_is_a_name_or_a_mapping_with_arguments(network, name, arguments):
    section = TaskSection(network=network, data="digits")
    assert (section.network_name, section.network_arguments) == (name, arguments)


@pytest.mark.parametrize("network", [{}, {"hidden": [3]}, {"name": 3}, {"name": None}])
def test_a_mapping_without_a_name_is_no_network(network):
    with pytest.raises(ValidationError, match="must have the key name, a text"):
        TaskSection(network=network, data="digits")


@pytest.mark.parametrize(
    ("kind", "plain", "places"),
    [
        (Budget, {"epochs": 0}, {"epochs"}),
        (Budget, {"epochs": "4"}, {"epochs"}),
        (Budget, {"epochs": 4.0}, {"epochs"}),
        (Budget, {"epochs": True}, {"epochs"}),
        (Budget, {}, {"epochs"}),
        (Budget, {"epochs": 1, "trials": 0, "images": 0}, {"trials", "images"}),
        (Budget, {"epochs": 1, "rungs": 3}, {"rungs"}),
        (Budget, {"epochs": 1, "wall_time": "x"}, {"wall_time"}),
        (Resources, {"cpu": 0}, {"cpu"}),
        (Resources, {"gpu": -1, "device": "tpu", "precision": "float16"}, {"gpu", "device", "precision"}),
        (Resources, {"compile": "yes", "concurrent": 0}, {"compile", "concurrent"}),
        (TaskSection, {"network": "mlp"}, {"data"}),
        (TaskSection, {"network": "mlp", "data": "x", "batch_size": 0, "workers": -1}, {"batch_size", "workers"}),
        (TaskSection, {"network": "mlp", "data": "x", "start": 3, "image_size": 0}, {"start", "image_size"}),
        (TaskSection, {"network": "mlp", "data": "x", "bach_size": 3}, {"bach_size"}),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(kind, plain, places):
    assert wrong(kind, plain) == places


@pytest.mark.parametrize(("given", "seconds"), [("1h30m", 5400), (90, 90), (None, None)])
def test_wall_time_is_seconds(given, seconds):
    assert Budget(epochs=1, wall_time=given).wall_time == seconds


@pytest.mark.parametrize(
    ("objectives", "rule"),
    [
        ({}, "2 or 3 objectives, not 0"),
        ({"accuracy": "max"}, "2 or 3 objectives, not 1"),
        ({"accuracy": "max", "rate": "min", "size": "min", "gops": "min"}, "2 or 3 objectives, not 4"),
        ({"accuracy": "max", "rat": "min"}, "'rat' is not a reported metric; did you mean 'rate'?"),
        ({"accuracy": "max", "loss": "min"}, "'loss' is not a reported metric"),
        ({"accuracy": "min", "rate": "min"}, "accuracy is better when larger: max"),
        ({"accuracy": "max", "rate": "max"}, "rate is better when smaller: min"),
    ],
)
def test_objectives_are_two_or_three_reported_metrics_in_their_direction(objectives, rule, small):
    with pytest.raises(ValidationError) as caught:
        SpaceFile.model_validate(small(objectives=objectives))
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("section", "value"),
    [("seed", -1), ("seed", 2**32), ("sampler", "grid"), ("embedded", {"embedded": {}})],
)
def test_unknown_words_are_refused(section, value, small):
    assert wrong(SpaceFile, small(**{section: value})) == {section}


def test_a_file_does_not_change(small):
    with pytest.raises(ValidationError, match="frozen"):
        SpaceFile.model_validate(small()).seed = 3


def test_a_dataclass_is_filled_from_plain_data():
    plain = {"base": {"lr": 1}, "milestones": [0.25, 0.5], "schedule": "multistep"}
    expected = OptimizerKnobs(base=Group(lr=1.0), milestones=(0.25, 0.5), schedule="multistep")
    assert filled(OptimizerKnobs, plain) == expected


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("deadzone", {"max_bits": "6"}),
        ("deadzone", {"max_bits": 6.0}),
        ("deadzone", {"learnable_bit": "false"}),
        ("deadzone", {"learnable_bit": 0}),
        ("deadzone", {"init_bit_logit": float("nan")}),
        ("deadzone", {"quantile": float("inf")}),
        ("deadzone", {"exclude_layers": "fc1"}),
        ("deadzone", {"max_bit": 6}),
        ("uniform", {"bitwidth": True}),
    ],
)
def test_a_dataclass_is_filled_as_strictly_as_a_section(word, plain):
    """What is let through here reaches the method as it stands."""
    with pytest.raises(ValidationError):
        filled(method_class(word), plain)
