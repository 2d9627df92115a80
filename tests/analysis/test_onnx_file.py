"""ONNX files: the same answers as PyTorch's for every kind of network, or one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from analysis import onnx_file as module
from analysis.onnx_file import Wishes, converted, onnx_file
from analysis.studies import BadStudy, open_study
from compress.artifact import decode, read
from compress.channel import Link
from compress.codebooks import CodebookLayer, Shape, attach
from compress.halves import device_half
from compress.shrink import IndexedAdd, shrink
from tasks.networks import build_network

CARD = {"method": "deadzone", "classes": list("abcdefghij"), "normalisation": {"mean": [0.5], "std": [0.25]}}


def built(name, shape, **arguments):
    torch.manual_seed(0)
    return build_network(name, shape, 10, arguments).eval()


def pruned(network, share=0.4):
    """Channels of every convolution and norm at zero, so that they leave."""
    source = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) and getattr(layer, "groups", 1) == 1:
            gone = torch.rand(len(layer.weight), generator=source) < share
            layer.weight.data[gone] = 0
            if layer.bias is not None:
                layer.bias.data[gone] = 0
    return network


def divided(modulation):
    network = built("resnet20", (1, 16, 16), maps=4)
    layer = CodebookLayer(Shape(8, 3, 4), Link(modulation, 12.0))
    nn.init.normal_(layer.embedding)
    attach(network, "layer1.1", layer)
    return network.eval()


def drawn(*shape, count=16):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(2))


def answers(data, inputs):
    import onnxruntime

    return onnxruntime.InferenceSession(data).run(None, {"input": inputs.numpy()})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet5", (1, 28, 28)), ("resnet20", (3, 32, 32)), ("mobilenet_v2", (3, 32, 32))],
)
def test_shrunk_networks_of_every_kind_answer_alike_in_batches_of_any_size(name, shape):
    network = shrink(pruned(built(name, shape)), shape)
    made = converted(network, drawn(*shape), CARD, None)
    inputs = drawn(*shape, count=3)
    with torch.inference_mode():
        assert np.abs(answers(made.data, inputs) - network(inputs).numpy()).max() < 1e-4
    assert f"input (N, {', '.join(map(str, shape))}), at most " in made.about
    if name == "resnet20":
        assert any(isinstance(layer, IndexedAdd) for layer in network.modules())


@pytest.mark.slow
def test_a_transformer_answers_alike():
    pytest.importorskip("timm")
    made = converted(built("vit_tiny", (3, 32, 32), patch_size=8), drawn(3, 32, 32, count=4), CARD, None)
    assert answers(made.data, drawn(3, 32, 32, count=5)).shape == (5, 10)


@pytest.mark.slow
def test_a_codebook_without_noise_answers_alike():
    network, inputs = divided("none"), drawn(1, 16, 16, count=7)
    made = converted(network, drawn(1, 16, 16), CARD, None)
    with torch.inference_mode():
        assert np.abs(answers(made.data, inputs) - network(inputs).numpy()).max() < 1e-4


@pytest.mark.slow
def test_the_opset_is_the_one_that_was_asked_for_and_metadata_say_how_to_use_it():
    import onnx

    made = converted(built("mlp", (1, 8, 8)), drawn(1, 8, 8), CARD, 17)
    model = onnx.load_from_string(made.data)
    assert [one.version for one in model.opset_import if not one.domain] == [17]
    told = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert (told["classes"], told["normalisation"]) == (CARD["classes"], CARD["normalisation"])


@pytest.mark.slow
def test_answers_that_differ_are_refused(monkeypatch):
    network = built("mlp", (1, 8, 8))
    run = module._run
    monkeypatch.setattr(module, "_run", lambda data, batches: [found + 1e-2 for found in run(data, batches)])
    with pytest.raises(BadStudy, match=r"answer otherwise \(0\.01 apart, at most 0\.0001 is rounding; another class"):
        converted(network, drawn(1, 8, 8), CARD, None)


@pytest.mark.slow
def test_a_network_that_cannot_be_followed_is_one_line():
    class Asking(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] * (2.0 if float(x.sum()) > 0 else 1.0)

    with pytest.raises(BadStudy, match=r"^format = 'onnx': this network cannot be exported \(") as caught:
        converted(Asking(), drawn(1, 8, 8), CARD, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("modulation", ["psk", "qam"])
def test_a_noisy_channel_is_refused(modulation):
    with pytest.raises(BadStudy, match=rf"sends over a noisy channel \({modulation}, 12 dB\)"):
        converted(divided(modulation), drawn(1, 16, 16), CARD, None)


def test_the_half_of_a_device_is_refused():
    with pytest.raises(BadStudy, match="the half of a device cannot be exported"):
        converted(device_half(divided("none"), (1, 16, 16)), drawn(1, 16, 16), CARD, None)


def test_a_shape_that_the_network_does_not_run_on():
    with pytest.raises(BadStudy, match=r"^input shape = 1x9x9: the network does not run on it \("):
        converted(built("mlp", (1, 8, 8)), drawn(1, 9, 9), CARD, None)


@pytest.mark.parametrize("opset", [12, 999])
def test_an_opset_that_there_is_not(opset):
    with pytest.raises(BadStudy, match=rf"^opset = {opset}: must be a whole number from 13 to \d\d$"):
        converted(built("mlp", (1, 8, 8)), drawn(1, 8, 8), CARD, opset)


def test_without_the_extra_it_is_said_how_to_get_it(digits, monkeypatch):
    monkeypatch.setattr(module, "_NEEDED", ("onnx", "absent_runtime"))
    point = open_study(str(digits), digits.parent)[0]
    with pytest.raises(BadStudy, match=r"needs absent_runtime: pip install 'ratefront\[onnx\]'$"):
        onnx_file(point, decode(read(point.file)), Wishes())


@pytest.mark.slow
def test_a_point_is_compared_on_data_of_its_task(own):
    point = open_study(str(own), own.parent)[0]
    made = onnx_file(point, decode(read(point.file)), Wishes(data_root=own.parent))
    assert made.about.endswith(" from PyTorch on 64 validation images")


@pytest.mark.slow
def test_drawn_inputs_where_there_are_no_data(digits):
    point = open_study(str(digits), digits.parent)[0]
    made = onnx_file(point, decode(read(point.file)), Wishes())
    assert made.about.endswith(" on 64 drawn inputs")
