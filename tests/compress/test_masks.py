import copy

import pytest
import torch
from torch import nn

from compress.masks import choose, insert_masks, masked
from compress.method import KnobError
from tasks.networks import build_network
from tests.tiny import small_net

SHAPE = (1, 8, 8)


def _masked(layers):
    torch.manual_seed(0)
    network = small_net()
    insert_masks(network, layers, SHAPE)
    return network


def test_a_mask_stands_behind_the_norm():
    network = _masked([("conv1", 3)])
    weight = network.conv1.weight.detach().clone()
    choose(network, 0, 3)
    gone = sorted(weight.flatten(1).norm(dim=1).argsort()[:3].tolist())
    assert torch.nonzero(network.bn1.weight == 0).flatten().tolist() == gone
    assert network.bn1.bias[gone].tolist() == [0, 0, 0]
    assert torch.equal(network.conv1.weight, weight), "no number is lost"
    out = network.bn1(network.conv1(torch.randn(2, *SHAPE)))
    assert not out[:, gone].any()
    assert bool((out.abs().amax((0, 2, 3)) > 0).sum() == 5)


def test_without_a_norm_the_filters_are_masked():
    network = _masked([("conv2", 4)])
    choose(network, 0, 4)
    out = network.conv2(torch.relu(network.bn1(network.conv1(torch.randn(2, *SHAPE)))))
    assert int((out.abs().amax((0, 2, 3)) == 0).sum()) == 4
    assert {name for name, _ in masked(network)} == {"conv2.weight", "conv2.bias"}


def test_numbers_are_absolute_and_channels_come_back():
    network = _masked([("conv1", 4)])
    names = {}
    for gone in (2, 4, 1, 0):
        choose(network, 0, gone)
        names[gone] = set(torch.nonzero(network.bn1.weight == 0).flatten().tolist())
        assert len(names[gone]) == gone
    assert names[1] < names[2] < names[4]
    choose(network, 0, 1)
    with torch.no_grad():
        network.conv1.weight[list(names[1])] *= 100
    choose(network, 0, 1)
    assert set(torch.nonzero(network.bn1.weight == 0).flatten().tolist()) == names[1], "nothing has happened"
    choose(network, 0, 2)
    assert names[1].isdisjoint(torch.nonzero(network.bn1.weight == 0).flatten().tolist())


def test_masks_are_state_and_moments_stay():
    network = _masked([("conv1", 4)])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def step():
        optimizer.zero_grad()
        network(torch.randn(8, *SHAPE)).square().mean().backward()
        optimizer.step()

    step()
    scale = network.bn1.parametrizations.weight.original
    before = {k: v.clone() for k, v in optimizer.state[scale].items()}
    choose(network, 0, 4)
    assert all(torch.equal(optimizer.state[scale][k], v) for k, v in before.items())
    step()
    fresh = _masked([("conv1", 4)])
    fresh.load_state_dict(copy.deepcopy(network.state_dict()))
    x = torch.randn(3, *SHAPE)
    assert torch.equal(fresh.eval()(x), network.eval()(x))


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ([("conv9", 1)], r"prune_channels\.0\.layer = 'conv9': the network has no such layer; did you mean conv"),
        ([("bn1", 1)], r"prune_channels\.0\.layer = 'bn1': must be a layer with filters"),
        ([("conv1", 8)], r"prune_channels\.0\.prune_ns = 8: must leave one of the 8 channels"),
        ([("conv1", 1), ("conv1", 2)], r"prune_channels\.1\.layer = 'conv1': stands in the list already"),
    ],
)
def test_what_cannot_be_masked_is_said(layers, line):
    with pytest.raises(KnobError, match=f"^{line}"):
        _masked(layers)


def test_in_a_residual_network_the_norm_behind_is_found():
    network = build_network("resnet20", (3, 16, 16), 10, {"maps": 4})
    insert_masks(network, [("layer1[0].conv1", 1), ("layer1[0].conv2", 1), ("conv1", 1)], (3, 16, 16))
    for number in range(3):
        choose(network, number, 1)
    names = {name for name, _ in masked(network)}
    assert names == {f"{n}.{p}" for n in ("layer1.0.bn1", "layer1.0.bn2", "bn1") for p in ("weight", "bias")}
    assert all(int((values == 0).sum()) >= 1 for _, values in masked(network))
    assert isinstance(network.layer1[0].bn1, nn.BatchNorm2d)
