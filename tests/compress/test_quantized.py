from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from compress.method import KnobError
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform
from compress.quantized import quantized_weights, require, select_layers


class _ScaledConv(nn.Conv2d):
    pass


def _model():
    block = nn.Sequential(
        OrderedDict(conv1=nn.Conv2d(4, 6, 3), bn1=nn.BatchNorm2d(6), conv2=_ScaledConv(6, 6, 3, groups=2))
    )
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 4, 3),
        block=block,
        norm=nn.LayerNorm(6),
        prelu=nn.PReLU(),
        up=nn.ConvTranspose2d(6, 2, 2),
        embedding=nn.Embedding(5, 6),
        head=nn.Linear(6, 3),
    )
    return nn.Sequential(layers)


ALL = ["conv1", "block.conv1", "block.conv2", "up", "embedding", "head"]


@pytest.mark.parametrize(
    ("names", "types", "chosen"),
    [
        ([], [], ALL),
        (["head"], [], ALL[:-1]),
        (["conv1"], [], ["block.conv2", "up", "embedding", "head"]),
        (["block."], [], ["conv1", "up", "embedding", "head"]),
        ([], ["Embedding"], ["conv1", "block.conv1", "block.conv2", "up", "head"]),
        ([], ["Conv2d"], ["up", "embedding", "head"]),
        ([], ["_ScaledConv"], ["conv1", "block.conv1", "up", "embedding", "head"]),
        ([], ["_ConvNd", "Linear"], ["embedding"]),
        (["block", "up"], ["Embedding"], ["conv1", "head"]),
        ([], ["NoSuchType"], ALL),
    ],
)
def test_layers_are_excluded_by_name_and_by_type(names, types, chosen):
    model = _model()
    selected = select_layers(model, names, types)
    assert list(selected) == chosen
    assert all(module is model.get_submodule(name) for name, module in selected.items())


@pytest.mark.parametrize("method", [Uniform(), Deadzone()])
def test_weights_of_one_axis_are_never_quantised(method, no_batches):
    model = _model()
    method.prepare(model, no_batches)
    assert [name for name, _, _ in quantized_weights(model)] == ALL
    for name in ("block.bn1", "norm", "prelu"):
        assert not parametrize.is_parametrized(model.get_submodule(name))


def test_excluded_layers_keep_their_weights(no_batches):
    model = _model()
    before = model.head.weight.detach().clone()
    Uniform(bitwidth=2, exclude_layers=["head"], exclude_types=["_ConvNd"]).prepare(model, no_batches)
    assert [name for name, _, _ in quantized_weights(model)] == ["embedding"]
    assert torch.equal(model.head.weight, before)


def test_the_soft_weights_are_the_ones_before(no_batches):
    model = _model()
    before = {name: model.get_submodule(name).weight.detach().clone() for name in ALL}
    Uniform(bitwidth=3).prepare(model, no_batches)
    for name, _, soft in quantized_weights(model):
        assert torch.equal(soft, before[name])
        assert not torch.equal(model.get_submodule(name).weight, before[name])


def test_nothing_left_to_quantise_is_an_error(no_batches):
    with pytest.raises(KnobError, match=r"exclude_layers = \[''\]: leaves no layer"):
        Uniform(exclude_layers=[""]).prepare(_model(), no_batches)


def _widths(model, no_batches, **knobs):
    method = Uniform(bitwidth=8, **knobs)
    method.prepare(model, no_batches)
    return {s.name.removesuffix(".weight"): s.bits for s in method.symbols(model)}


def test_the_first_pattern_that_fits_gives_the_bits(no_batches):
    entries = [{"layers": "block.conv2", "bits": 3}, {"layers": "block.*", "bits": 5}, {"layers": "*conv*", "bits": 6}]
    widths = _widths(_model(), no_batches, layer_bits=entries)
    assert widths == {"conv1": 6, "block.conv1": 5, "block.conv2": 3, "up": 8, "embedding": 8, "head": 8}


def test_a_pattern_fits_whole_names_and_case(no_batches):
    widths = _widths(_model(), no_batches, layer_bits=[{"layers": "conv1", "bits": 2}])
    assert [name for name, bits in widths.items() if bits == 2] == ["conv1"]
    with pytest.raises(KnobError, match="layer_bits = 'HEAD': fits no layer; they are conv1, "):
        _widths(_model(), no_batches, layer_bits=[{"layers": "HEAD", "bits": 2}])


def test_the_bits_of_a_pattern_bound_the_levels(no_batches):
    model, method = _model(), Uniform(bitwidth=8, layer_bits=[{"layers": "head", "bits": 2}])
    method.prepare(model, no_batches)
    assert np.unique(method.symbols(model)[-1].index).tolist() == [-1, 0, 1]
    assert len(model.head.weight.unique()) == 3


def test_a_pattern_fixes_bits_that_would_be_learnt(no_batches):
    model = _model()
    Deadzone(layer_bits=[{"layers": "conv1", "bits": 7}]).prepare(model, no_batches)
    fixed = {name: q for name, q, _ in quantized_weights(model) if not q.learn_bit}
    assert list(fixed) == ["conv1"]
    assert fixed["conv1"].bit_width().item() == 7


@pytest.mark.parametrize("method", [Uniform, Deadzone])
def test_a_scale_a_channel_has_one_step_an_output(method, no_batches):
    model, whole = _model(), _model()
    per_channel, per_tensor = method(scale="channel"), method(scale="tensor")
    per_channel.prepare(model, no_batches)
    per_tensor.prepare(whole, no_batches)
    counts = {s.name: s.floats["step"].size for s in per_channel.symbols(model)}
    assert (counts["conv1.weight"], counts["block.conv2.weight"], counts["head.weight"]) == (4, 6, 3)
    assert {s.floats["step"].size for s in per_tensor.symbols(whole)} == {1}


def test_a_scale_a_channel_follows_each_channel(no_batches):
    model = nn.Sequential(nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        model[0].weight[1] *= 1000
    method = Uniform(bitwidth=8, scale="channel")
    method.prepare(model, no_batches)
    peaks = np.abs(method.symbols(model)[0].index).max(1)
    assert peaks.tolist() == [127, 127]


@pytest.mark.parametrize(
    "method", [Uniform(bitwidth=5), Uniform(scale="channel"), Deadzone(), Deadzone(scale="channel")]
)
def test_symbols_decode_to_the_weights_of_the_forward(method, no_batches):
    model = _model()
    method.prepare(model, no_batches)
    symbols = method.symbols(model)
    assert [s.name for s in symbols] == [f"{name}.weight" for name in ALL]
    for s in symbols:
        weight = model.get_submodule(s.name.removesuffix(".weight")).weight
        assert np.array_equal(s.weights(), weight.detach().numpy())


def test_another_parametrization_is_no_quantizer(no_batches):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    Uniform(exclude_layers=["0"]).prepare(model, no_batches)
    nn.utils.parametrizations.orthogonal(model[0])
    assert [name for name, _, _ in quantized_weights(model)] == ["1"]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"scale": "row"}, "scale = 'row': must be tensor or channel"),
        ({"statistic": "mean"}, "statistic = 'mean': must be quantile or max"),
        ({"quantile": 0}, "quantile = 0: must lie in (0, 1]"),
        ({"quantile": 1.01}, "quantile = 1.01: must lie in (0, 1]"),
        ({"quantile": float("nan")}, "quantile = nan: must lie in (0, 1]"),
        ({"layer_bits": [{"layers": "a"}]}, "layer_bits = {'layers': 'a'}: an entry has the keys layers and bits"),
        ({"layer_bits": [{"layers": "a", "bits": 1}]}, "layer_bits = {'layers': 'a', 'bits': 1}: bits must be a whole"),
        ({"layer_bits": [{"layers": "a", "bits": 17}]}, "layer_bits = {'layers': 'a', 'bits': 17}: bits must be"),
        ({"layer_bits": [{"layers": "a", "bits": 4.0}]}, "layer_bits = {'layers': 'a', 'bits': 4.0}: bits must be"),
    ],
)
@pytest.mark.parametrize("method", [Uniform, Deadzone])
def test_errors_name_knob_value_and_rule(method, knobs, words):
    with pytest.raises(KnobError) as caught:
        method(**knobs)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_require_passes_what_holds():
    require("knob", 3, "must be 3", True)
    with pytest.raises(KnobError, match=r"^knob = 'x': must be 3$"):
        require("knob", "x", "must be 3", False)


def test_a_model_that_is_one_layer_has_the_symbol_of_its_state(no_batches):
    model = nn.Linear(4, 2)
    method = Uniform()
    method.prepare(model, no_batches)
    assert [s.name for s in method.symbols(model)] == ["weight"]
