import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tasks.resnet import CifarResNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CifarResNet(2, channels=3, classes=5, maps=4).eval()


def test_a_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides(network):
    """With the convolutions silenced only the shortcut is left."""
    block = network.layer2[0]
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 6, 6)
    expected = torch.zeros(2, 8, 3, 3)
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                expected[:, channel + 2, row, column] = x[:, channel, 2 * row, 2 * column]
    assert torch.equal(block(x), expected)


def test_a_shortcut_of_the_same_shape_is_the_identity(network):
    block = network.layer1[1]
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_a_block_adds_its_convolutions_before_the_last_relu(network):
    block = network.layer1[0]
    x = torch.randn(2, 4, 6, 6)
    inner = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(inner + x))
    assert (block(x) == 0).any()


def test_stages_halve_the_picture_and_double_the_channels(network):
    shapes = {}
    for name in ("layer1", "layer2", "layer3"):
        network.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: shapes.update({n: o.shape[1:]}))
    network(torch.randn(1, 3, 32, 32))
    assert shapes == {"layer1": (4, 32, 32), "layer2": (8, 16, 16), "layer3": (16, 8, 8)}


@pytest.mark.parametrize("size", [8, 28, 33])
def test_pictures_of_any_size_are_averaged_at_the_end(network, size):
    assert network(torch.randn(2, 3, size, size)).shape == (2, 5)


def test_names_are_those_of_the_published_weights():
    names = set(CifarResNet(3).state_dict())
    norms = {f"{n}.{v}" for n in ("bn1", "bn2") for v in ("weight", "bias", "running_mean", "running_var")}
    norms |= {f"{n}.num_batches_tracked" for n in ("bn1", "bn2")}
    block = {"conv1.weight", "conv2.weight", *norms}
    stem = {"conv1.weight", "linear.weight", "linear.bias"} | {n for n in norms if n.startswith("bn1")}
    assert names == stem | {f"layer{s}.{b}.{n}" for s in (1, 2, 3) for b in (0, 1, 2) for n in block}
