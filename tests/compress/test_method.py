from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
import torch
from torch import nn

from compress.method import KnobError, Method, all_tensors
from compress.methods.baseline import Baseline
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform


def test_prepare_and_symbols_are_required():
    @dataclass(frozen=True, kw_only=True)
    class Half(Method):
        def symbols(self, model):
            return []

    for kind in (Method, Half):
        with pytest.raises(TypeError, match="prepare"):
            kind()


def test_knobs_are_frozen_and_given_by_name():
    with pytest.raises(FrozenInstanceError):
        Uniform().bitwidth = 4
    with pytest.raises(TypeError, match="positional"):
        Uniform(4)


def test_knobs_lists_fields_and_defaults():
    knobs = Uniform.knobs()
    assert knobs["bitwidth"] == 8
    assert knobs["scale"] == "tensor"
    assert Uniform(**knobs) == Uniform()
    assert "main_knob" not in knobs
    assert Baseline.knobs() == {"store": "float32", "norms": "kept", "norm_images": 0}


def test_a_knob_error_is_a_value_error():
    assert issubclass(KnobError, ValueError)


def test_the_base_group_holds_what_is_trained(build):
    model = build()
    model.fc.bias.requires_grad_(False)
    groups = Baseline().parameter_groups(model)
    assert list(groups) == ["base"]
    assert {id(p) for p in groups["base"]} == {id(p) for p in model.parameters() if p is not model.fc.bias}


def test_the_loss_is_the_tasks(build):
    outputs, target = torch.tensor([[2.0, 0.5]]), torch.tensor([1])
    loss = Baseline().loss(build(), outputs, target, nn.functional.cross_entropy)
    assert loss.item() == pytest.approx(np.log(1 + np.exp(1.5)))


def test_the_other_hooks_do_nothing(build, no_batches):
    method, model = Baseline(), build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method.prepare(model, no_batches)
    method.on_epoch(model, 0.5, no_batches)
    method.proximal(model, 0.5, 0.1)
    method.on_step(model, 0.5)
    assert method.learning_rate(0.25, lambda progress: 2 * progress) == 0.5
    assert (method.penalty(model).item(), method.measures(model), method.bound(model)) == (0.0, {}, {})
    assert method.phases(7) == {"train": 7}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "method",
    [
        Baseline(),
        Uniform(exclude_layers=["conv"], store="float32", norms="kept"),
        Deadzone(store="float32", norms="kept"),
    ],
)
def test_all_tensors_are_the_dense_state_in_its_order(method, build, no_batches):
    names, model = list(build().state_dict()), build()
    method.prepare(model, no_batches)
    tensors = all_tensors(method, model, names)
    assert [t.name for t in tensors] == [name for name in names if name != "bn.num_batches_tracked"]
    assert {t.name: t.decoder for t in tensors if t.decoder != "raw"} == {
        s.name: s.decoder for s in method.symbols(model)
    }
    for tensor in tensors:
        layer, _, leaf = tensor.name.rpartition(".")
        assert np.array_equal(tensor.weights(), getattr(model.get_submodule(layer), leaf).detach())


def test_a_scalar_keeps_its_shape(no_batches):
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_parameter("gain", nn.Parameter(torch.tensor(2.0)))
    names = list(model.state_dict())
    Uniform().prepare(model, no_batches)
    shapes = {t.name: t.weights().shape for t in all_tensors(Uniform(), model, names)}
    assert shapes == {"gain": (), "0.weight": (2, 2), "0.bias": (2,)}


def test_a_layer_that_stands_in_two_places_is_stored_in_both(no_batches):
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    names = list(model.state_dict())
    Uniform().prepare(model, no_batches)
    assert [t.name for t in all_tensors(Uniform(), model, names)] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_states_of_other_precisions_are_stored_as_float32(no_batches):
    model = nn.Linear(2, 2).bfloat16()
    tensors = {t.name: t.weights() for t in all_tensors(Baseline(), model, ["weight", "bias"])}
    assert np.array_equal(tensors["weight"], model.weight.detach().float())


def test_complex_numbers_are_refused_by_name():
    model = nn.Linear(2, 2)
    model.register_buffer("phase", torch.zeros(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="phase: complex numbers, which a file does not hold"):
        all_tensors(Baseline(), model, ["phase"])
