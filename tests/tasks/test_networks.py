import sys

import numpy as np
import pytest
import torch
from torch import nn

from compress.methods.uniform import Uniform
from compress.metrics import count_macs
from compress.shipping import ship
from tasks import TaskError
from tasks.networks import NETWORKS, build_network, check_network

CIFAR, DIGITS, MNIST = (3, 32, 32), (1, 8, 8), (1, 28, 28)
COUNTS = {
    "resnet20": 269722,
    "resnet32": 464154,
    "resnet44": 658586,
    "resnet56": 853018,
    "resnet110": 1727962,
    "mlp": 379774,
    "vgg16": 14724042,
    "vgg19": 20035018,
}
NEEDS = {"vit_tiny": "timm", "mobilenet_v2": "torchvision"}
NEEDS |= {f"resnet{depth}": "torchvision" for depth in (18, 34, 50, 101, 152)}
MNIST_COUNTS = {"lenet300": 266610, "lenet5": 431080}


def count(network):
    return sum(p.numel() for p in network.parameters())


def refused(name, shape=CIFAR, **arguments):
    with pytest.raises(TaskError) as caught:
        build_network(name, shape, 10, arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_maps_pictures_to_logits(name, request):
    if name in NEEDS:
        request.getfixturevalue(NEEDS[name])
    arguments = {"patch_size": 8} if name == "vit_tiny" else {}
    network = build_network(name, CIFAR, 7, arguments)
    logits = network(torch.randn(2, *CIFAR))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.parametrize("name", sorted(COUNTS | MNIST_COUNTS))
def test_original_weights_are_the_published_counts(name):
    shape = MNIST if name in MNIST_COUNTS else CIFAR
    assert count(build_network(name, shape, 10, {})) == (COUNTS | MNIST_COUNTS)[name]


def resnet_count(blocks, maps, channels, classes):
    """By hand: convolutions of nine taps without bias, two numbers a channel of each norm, one linear layer."""
    total, inputs = 9 * channels * maps + 2 * maps, maps
    for outputs in (maps, 2 * maps, 4 * maps):
        for _ in range(blocks):
            total += 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs
            inputs = outputs
    return total + inputs * classes + classes


def resnet_macs(blocks, maps, size, classes):
    """By hand: nine taps at every pixel of every convolution; shortcuts cost none."""
    total, inputs = 9 * 3 * maps * size**2, maps
    for stage, outputs in enumerate((maps, 2 * maps, 4 * maps)):
        pixels = (size >> stage) ** 2
        for _ in range(blocks):
            total += 9 * inputs * outputs * pixels + 9 * outputs * outputs * pixels
            inputs = outputs
    return total + inputs * classes


@pytest.mark.parametrize(
    ("name", "blocks", "maps", "weights", "macs"),
    [
        ("resnet110", 18, 16, 1_727_962, 252_887_680),
        ("resnet20", 3, 64, 4_286_026, 643_500_544),
        ("resnet56", 9, 64, 13_586_506, 2_002_455_040),
        ("resnet110", 18, 64, 27_537_226, 4_040_886_784),
    ],
)
def test_deep_and_wide_networks_have_their_counts(name, blocks, maps, weights, macs):
    with torch.device("meta"):
        network = build_network(name, CIFAR, 10, {"maps": maps})
    assert count(network) == resnet_count(blocks, maps, 3, 10) == weights
    assert count_macs(network, CIFAR).total == resnet_macs(blocks, maps, 32, 10) == macs


@pytest.mark.parametrize(("maps", "channels", "classes"), [(64, 3, 10), (8, 1, 4)])
def test_maps_widens_every_stage(maps, channels, classes):
    network = build_network("resnet20", (channels, 16, 16), classes, {"maps": maps})
    assert count(network) == resnet_count(3, maps, channels, classes)
    assert network(torch.randn(2, channels, 16, 16)).shape == (2, classes)


def test_the_layers_of_the_mlp_are_arguments():
    network = build_network("mlp", DIGITS, 10, {"hidden": [30, 20, 10]})
    layers = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
    assert layers == [(64, 30), (30, 20), (20, 10), (10, 10)]
    assert [n for n, _ in network.named_children()][1:3] == ["fc1", "relu1"]
    linear = build_network("mlp", DIGITS, 10, {"hidden": []})
    assert count(linear) == 64 * 10 + 10


@pytest.mark.parametrize("name", ["resnet20", "mlp"])
def test_every_build_of_one_seed_is_the_same_and_of_another_is_not(name):
    def build(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_network(name, CIFAR, 10, {}).parameters()])

    one, again, other = build(1), build(1), build(2)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["lenet5", "vgg16", "vgg19"])
def test_pictures_that_are_too_small_are_refused(name):
    for height, width in ((8, 8), (15, 32), (32, 15)):
        said = refused(name, (1, height, width))
        assert (
            said == f"network = '{name}': {{}} cannot be built (pictures of {height}x{width}, expected 16x16 or larger)"
        )
    assert count(build_network(name, (1, 16, 16), 10, {}))


def test_unknown_names_and_arguments_name_the_nearest():
    assert "did you mean 'resnet20'" in refused("resnet200")
    assert "valid: lenet300, lenet5, mlp, mobilenet_v2, resnet101, resnet110" in refused("zzz")
    assert refused("resnet20", mapz=3) == "network 'resnet20': unknown argument 'mapz'; did you mean 'maps'?"


# a vision transformer, through timm


@pytest.mark.usefixtures("timm")
def test_a_vision_transformer_takes_an_optimizer_step():
    torch.manual_seed(0)
    network = build_network("vit_tiny", CIFAR, 10, {"patch_size": 8})
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    inputs, labels = torch.randn(4, *CIFAR), torch.arange(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    first = nn.functional.cross_entropy(network(inputs), labels)
    first.backward()
    optimizer.step()
    with torch.no_grad():
        second = nn.functional.cross_entropy(network(inputs), labels)
    assert second < first
    assert all(not torch.equal(p, before[name]) for name, p in network.named_parameters() if p.grad.any())
    assert network.pos_embed.shape == (1, 16 + 1, 192)


def vit_macs(size, patch, classes):
    """(of layers, of attention) by hand: 12 blocks of width 192, four times that in the MLP, one class token."""
    tokens, width = (size // patch) ** 2 + 1, 192
    block = tokens * (3 * width * width + width * width + 8 * width * width)
    return (tokens - 1) * 3 * patch**2 * width + 12 * block + width * classes, 12 * 2 * tokens**2 * width


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("size", "patch", "weights", "macs"), [(224, 16, 5_526_346, 1_253_493_120), (32, 4, 5_362_762, 365_107_584)]
)
def test_macs_of_a_vision_transformer_count_attention(size, patch, weights, macs):
    network = build_network("vit_tiny", (3, size, size), 10, {"patch_size": patch})
    counted, (layers, attention) = count_macs(network, (3, size, size)), vit_macs(size, patch, 10)
    assert count(network) == weights
    assert sum(counted.layers.values()) == layers
    assert counted.total == layers + attention == macs


@pytest.mark.slow
@pytest.mark.usefixtures("timm")
def test_a_vision_transformer_ships():
    """The file gives the very answers, with every matrix quantised."""
    torch.manual_seed(0)

    def build():
        return build_network("vit_tiny", CIFAR, 10, {"patch_size": 8})

    model, method = build(), Uniform(bitwidth=4, store="float32")
    method.prepare(model, lambda: iter([]))
    shipped = ship(method, model, build, {})
    matrices = [n for n, p in build().named_parameters() if n.endswith("weight") and p.dim() > 1]
    assert sorted(t.name for t in shipped.artifact.tensors if t.index.dtype != np.float32) == sorted(matrices)
    inputs = torch.randn(2, *CIFAR)
    with torch.no_grad():
        assert torch.allclose(shipped.network.eval()(inputs), model.eval()(inputs), atol=1e-4)
    assert shipped.artifact.size < 4 * count(build()) / 7


@pytest.mark.usefixtures("timm")
def test_a_vision_transformer_takes_any_channels_and_oblong_pictures():
    network = build_network("vit_tiny", (1, 16, 24), 3, {"patch_size": 4})
    assert network(torch.randn(2, 1, 16, 24)).shape == (2, 3)
    assert network.pos_embed.shape[1] == 4 * 6 + 1


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(("shape", "patch"), [((3, 30, 32), 8), ((3, 32, 30), 8), ((3, 32, 32), 64), ((3, 32, 32), 0)])
def test_a_patch_that_does_not_divide_is_refused(shape, patch):
    assert f"{shape[1]}x{shape[2]} do not divide into patches of {patch}" in refused(
        "vit_tiny", shape, patch_size=patch
    )


def test_without_timm_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "needs timm; pip install 'ratefront[vit]'" in refused("vit_tiny")


# the user's own


MINE = """
from torch import nn

def linear(input_shape, classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], classes, bias=bias))

def wrong(classes):
    return "a network"
"""


def test_a_factory_of_the_users_is_called_with_shape_classes_and_arguments(write_module):
    write_module("mine", MINE)
    assert count(build_network("mine:linear", DIGITS, 10, {})) == 650
    assert count(build_network("mine:linear", DIGITS, 10, {"bias": False})) == 640


def test_a_factory_that_does_not_serve_is_refused_in_one_line(write_module):
    write_module("mine", MINE)
    assert refused("mine:wrong") == "network = 'mine:wrong': the factory returned a str, expected an nn.Module"
    assert "has no callable 'absent'" in refused("mine:absent")
    assert "module 'absent' cannot be imported" in refused("absent:linear")
    assert "unknown argument 'bais'; did you mean 'bias'?" in refused("mine:linear", bais=False)


def test_a_name_alone_imports_nothing():
    with pytest.raises(TaskError, match="unknown"):
        check_network("this")
    assert "this" not in sys.modules
    assert check_network("mlp") is NETWORKS["mlp"]
