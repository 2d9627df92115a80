import numpy as np
import pytest
import torch
from torch import nn

from compress.artifact import decode, load, save
from compress.methods.baseline import Baseline
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform
from compress.quantized import quantized_weights
from compress.shipping import ship

EXACT = {"store": "float32", "norms": "kept"}
METHODS = [
    Baseline(),
    Uniform(bitwidth=3, **EXACT),
    Uniform(scale="channel", **EXACT),
    Deadzone(init_deadzone_logit=0.7, **EXACT),
]


def _inputs():
    return torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=METHODS, ids=["baseline", "uniform", "uniform-channel", "deadzone"])
def shipped(request, build, no_batches):
    """(method, trained model, what it ships)."""
    model = build(seed=5)
    request.param.prepare(model, no_batches)
    return request.param, model, ship(request.param, model, build, {"method": "any"})


def test_the_network_gives_the_models_outputs(shipped):
    _, model, result = shipped
    assert torch.equal(result.network(_inputs()), model.eval()(_inputs()))


def test_the_network_is_fresh_dense_and_in_evaluation(shipped, build):
    _, model, result = shipped
    assert list(result.network.state_dict()) == list(build().state_dict())
    assert list(quantized_weights(result.network)) == []
    assert not any(module.training for module in result.network.modules())
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert all(tensor.data_ptr() not in own for tensor in result.network.state_dict().values())


def test_the_model_goes_on_training(shipped):
    method, model, _ = shipped
    assert model.training
    assert len(list(quantized_weights(model))) == (0 if isinstance(method, Baseline) else 2)
    model(_inputs()).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_data_is_the_file_of_the_artifact(shipped):
    _, _, result = shipped
    again = decode(result.data)
    assert result.artifact.size == again.size == len(result.data)
    assert result.artifact.card == {"method": "any"}
    for first, second in zip(result.artifact.tensors, again.tensors, strict=True):
        assert np.array_equal(first.weights(), second.weights())


def test_every_weight_is_the_decoders(shipped):
    _, _, result = shipped
    state = result.network.state_dict()
    for tensor in result.artifact.tensors:
        assert np.array_equal(state[tensor.name].numpy(), tensor.weights())


def test_loading_the_file_gives_the_measured_outputs(shipped, build, tmp_path):
    _, _, result = shipped
    save(tmp_path / "network.rf", result.data)
    loaded = load(tmp_path / "network.rf", lambda card: build(seed=9))
    assert torch.equal(loaded(_inputs()), result.network(_inputs()))


def test_later_training_does_not_reach_what_was_shipped(shipped):
    _, model, result = shipped
    before = result.network(_inputs())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(result.network(_inputs()), before)


def test_fewer_bits_make_a_smaller_file(build, no_batches):
    sizes = []
    for bits in (8, 4, 2):
        model, method = build(hidden=32), Uniform(bitwidth=bits)
        method.prepare(model, no_batches)
        sizes.append(len(ship(method, model, lambda: build(hidden=32), {}).data))
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_model_that_is_one_layer_ships(no_batches):
    model, method = nn.Linear(4, 2), Uniform(bitwidth=4)
    method.prepare(model, no_batches)
    result = ship(method, model, lambda: nn.Linear(4, 2), {})
    assert torch.equal(result.network.weight, model.weight)
