import json
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.artifact import ArtifactError, encode
from compress.methods.baseline import Baseline
from compress.shipping import ship
from tasks import Part, Task, TaskError, TaskSpec, evaluate, load, open_task

CPU = torch.device("cpu")


@pytest.fixture
def digits(tmp_path):
    def opened(**keywords):
        spec = TaskSpec(**{"network": "mlp", "data": "digits", "start": "scratch", **keywords})
        return open_task(spec, tmp_path)[0]

    return opened


def test_a_task_is_opened_by_name(digits, tmp_path):
    task, start = open_task(TaskSpec(network="mlp", data="digits"), tmp_path)
    assert (start.kind, start.state) == ("train", None)
    assert (task.data.split, len(task.data.validation), task.chance) == ("holdout-300", 300, 0.1)
    assert task.build().fc1.in_features == 64


def test_a_file_as_start_moves_validation_to_the_test_part_and_keeps_the_normalisation(digits, tmp_path):
    task = digits()
    torch.save(task.build().state_dict(), tmp_path / "dense.pt")
    moved = digits(start=str(tmp_path / "dense.pt"))
    assert moved.data.split == "test-halves-150"
    assert (moved.data.mean, len(moved.data.train)) == (task.data.mean, 1497)


def test_an_artifact_as_start_brings_its_normalisation(digits, tmp_path):
    task = digits()
    card = {**task.card(), "normalisation": {"mean": [0.5], "std": [0.25]}}
    path = tmp_path / "trial.rf"
    path.write_bytes(ship(Baseline(), task.build(), task.build, card).data)
    data = digits(start=str(path)).data
    assert (data.split, data.mean, data.std) == ("holdout-300", (0.5,), (0.25,))


def test_network_arguments_reach_the_factory(digits):
    network = digits(network_arguments={"hidden": [5]}).build()
    assert [tuple(p.shape) for p in network.parameters()] == [(5, 64), (5,), (10, 5), (10,)]


@pytest.mark.parametrize(("size", "shape"), [(None, (1, 8, 8)), (16, (1, 16, 16))])
def test_pictures_are_scaled_a_batch_at_a_time(digits, size, shape):
    task = digits(image_size=size)
    part = Part.of(task.data.validation, task.data, CPU)
    assert task.data.input_shape == shape
    assert part.images.shape[1:] == (1, 8, 8)
    batch, plain = part.normalise(part.images[:20]), digits().data
    assert batch.shape == (20, *shape)
    assert torch.allclose(
        batch.mean((1, 2, 3)),
        Part.of(plain.validation, plain, CPU).normalise(part.images[:20]).mean((1, 2, 3)),
        atol=0.05,
    )


def test_features_are_not_scaled(write_module, tmp_path):
    write_module(
        "mine",
        "import numpy as np\nfrom tasks import Arrays, Source\n\ndef data():\n"
        "    part = Arrays(np.ones((20, 6), np.float32), np.arange(20) % 2)\n"
        "    return Source(name='ones', train=part, test=part, classes='ab', holdout=4)\n",
    )
    spec = TaskSpec(network="mlp", data="mine:data", start="scratch", image_size=3)
    task, _ = open_task(spec, tmp_path)
    assert task.data.input_shape == (6,)
    assert task.build().fc1.in_features == 6


def test_the_loss_is_the_mean_cross_entropy_in_nats():
    outputs, target = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    expected = -(F.log_softmax(outputs, 1)[0, 0] + F.log_softmax(outputs, 1)[1, 0]) / 2
    torch.testing.assert_close(Task.loss(outputs, target), expected)
    assert Task.loss(torch.zeros(3, 10), torch.arange(3)).item() == pytest.approx(np.log(10))
    assert Task.loss(outputs.bfloat16(), target).dtype == torch.float32


def test_a_card_is_plain_data_and_says_what_the_network_is_for(digits):
    task = digits(network_arguments={"hidden": [9]})
    card = json.loads(json.dumps(task.card()))
    assert card == task.card()
    assert card["network"] == {"name": "mlp", "kwargs": {"hidden": [9]}}
    assert (card["input_shape"], card["classes"]) == ([1, 8, 8], list("0123456789"))
    assert card["normalisation"] == {"mean": [0.305], "std": [0.376]}
    assert (card["data"], card["split"]) == ("digits", "holdout-300")


# artifacts


@pytest.mark.parametrize(("network", "arguments"), [("mlp", {"hidden": [12]}), ("resnet20", {"maps": 4})])
def test_an_artifact_of_a_registered_network_is_rebuilt(digits, tmp_path, network, arguments):
    task = digits(network=network, network_arguments=arguments)
    model = task.build()
    model(torch.randn(20, 1, 8, 8))
    path = tmp_path / "trial.rf"
    path.write_bytes(ship(Baseline(), model, task.build, task.card()).data)
    loaded = load(str(path))
    assert not loaded.training
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(loaded(images), model.eval()(images))


def test_loading_draws_from_no_generator_of_the_users(digits, tmp_path):
    task = digits()
    path = tmp_path / "trial.rf"
    path.write_bytes(ship(Baseline(), task.build(), task.build, task.card()).data)
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate()
    load(str(path))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def write_card(path, card):
    path.write_bytes(encode(card, []))
    return str(path)


@pytest.mark.parametrize("name", ["trap:build", "resnet2", "os:system", None, 3, ["mlp"]])
def test_a_network_that_is_not_registered_is_refused_and_nothing_imported(write_module, tmp_path, name):
    write_module("trap", f"open({str(tmp_path / 'sprung')!r}, 'w').close()\nbuild = dict\n")
    card = {"network": {"name": name, "kwargs": {}}, "input_shape": [1, 8, 8], "classes": list("ab")}
    with pytest.raises(TaskError, match=r"is not one of ours.*use compress\.load"):
        load(write_card(tmp_path / "a.rf", card))
    assert "trap" not in sys.modules
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"network": 3},
        {"network": {"name": "mlp", "kwargs": 3}},
        {"network": {"name": "mlp", "kwargs": {"hiden": [3]}}},
        {"network": {"name": "mlp", "kwargs": {"hidden": 3}}},
        {"network": {"name": "mlp", "kwargs": {"hidden": [-1]}}},
        {"network": {"name": "resnet20"}, "input_shape": []},
        {"input_shape": 3},
        {"input_shape": None},
        {"classes": 3},
    ],
    ids=str,
)
def test_a_card_that_describes_no_network_is_refused_in_one_line(tmp_path, change):
    card = {"network": {"name": "mlp", "kwargs": {}}, "input_shape": [1, 8, 8], "classes": list("ab"), **change}
    with pytest.raises(TaskError) as caught:
        load(write_card(tmp_path / "a.rf", card))
    assert "\n" not in str(caught.value)


def test_tensors_that_do_not_fit_the_card_are_refused(tmp_path):
    card = {"network": {"name": "mlp", "kwargs": {}}, "input_shape": [1, 8, 8], "classes": list("ab")}
    with pytest.raises(ArtifactError, match=r"section '.*': shape None, the network has \(120, 64\)"):
        load(write_card(tmp_path / "a.rf", card))


# the published network


@pytest.mark.slow
@pytest.mark.data
def test_published_resnet20_has_its_published_accuracy(data_root):
    task, start = open_task(TaskSpec(network="resnet20", data="cifar10"), data_root)
    assert (start.kind, task.data.split) == ("published", "test-halves-5000")
    assert (task.data.mean, task.data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    network: nn.Module = task.build()
    network.load_state_dict(start.state, strict=True)
    halves = [evaluate(network, Part.of(part, task.data, CPU)) for part in (task.data.validation, task.data.test)]
    assert sum(halves) / 2 == pytest.approx(0.9173, abs=1e-9)


@pytest.mark.data
def test_a_study_that_trains_its_own_start_leaves_the_test_part_whole(data_root):
    task, _ = open_task(TaskSpec(network="resnet20", data="mnist", start="scratch", image_size=32), data_root)
    sizes = [len(part) for part in (task.data.train, task.data.validation, task.data.test)]
    assert sizes == [50000, 10000, 10000]
    assert task.data.input_shape == (1, 32, 32)
