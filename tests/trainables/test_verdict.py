from __future__ import annotations

import pytest
import torch

from compress import ArtifactError
from compress.artifact import save
from tasks import Part, evaluate
from tests.tiny import tiny_start, tiny_task, tiny_trainer
from trainables.base import Ground
from trainables.verdict import test_accuracy as accuracy_on_test_part  # its own name would be collected as a test


@pytest.fixture
def ground(tmp_path):
    return Ground(task=tiny_task(), start=None, artifacts=str(tmp_path), device="cpu")


def on_test_part(network):
    data = tiny_task().data
    return evaluate(network, Part.of(data.test, data, torch.device("cpu")))


def test_of_a_file_is_that_of_the_network_that_was_shipped(ground, tmp_path):
    trainer = tiny_trainer("deadzone")
    on_validation = trainer.epoch().accuracy
    save(tmp_path / "network.rf", trainer.shipped.data)
    tested = accuracy_on_test_part(ground, str(tmp_path / "network.rf"))
    assert tested == on_test_part(trainer.shipped.network)
    assert tested != on_validation


def test_of_the_dense_network(ground):
    dense = tiny_task().build()
    dense.load_state_dict(tiny_start())
    arrays = {name: value.numpy() for name, value in tiny_start().items()}
    assert accuracy_on_test_part(ground, arrays) == on_test_part(dense)


def test_the_global_generator_is_left_alone(ground):
    torch.manual_seed(9)
    before = torch.get_rng_state()
    accuracy_on_test_part(ground, {name: value.numpy() for name, value in tiny_start().items()})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_file_is_an_error(ground, tmp_path):
    (tmp_path / "network.rf").write_bytes(b"RFNT")
    with pytest.raises(ArtifactError):
        accuracy_on_test_part(ground, str(tmp_path / "network.rf"))
