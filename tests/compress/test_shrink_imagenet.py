"""torchvision's networks under random masks, at 64x64: the small network is the masked one, and as small as foretold."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from compress.graph import trace
from compress.reach import parameters_left, reach
from compress.shrink import shrink_traced
from tasks.networks import build_network
from tasks.torchvision_import import import_torchvision

SHAPE = (3, 64, 64)


@pytest.fixture(scope="module", params=["resnet18", "resnet50", "mobilenet_v2"])
def made(request):
    """(network, its state, its graph), with statistics of random pictures so that signals come through."""
    if not find_spec("torchvision"):
        pytest.skip("torchvision is not installed")
    import_torchvision()
    torch.manual_seed(0)
    network = build_network(request.param, SHAPE, 10, {}).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for module in norms:
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.3)
            module.train().momentum = 1.0
        network(torch.randn(8, *SHAPE))
    for module in norms:
        module.eval()
    network.double()
    held = {name: value.clone() for name, value in network.state_dict().items()}
    return network, held, trace(network, SHAPE)


@torch.no_grad()
def mask(network, seed):
    """A constant rate, a rate a layer, or layers cut, by turns; a third of the channels keep their shift."""
    draw = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            chance = torch.rand((), generator=draw)
            rate = 0.4 if seed % 3 == 0 else 1.0 if seed % 3 == 2 and chance < 0.1 else 0.7 * chance
            gone = torch.rand(module.weight.shape, generator=draw) < rate
            module.weight[gone] = 0
            module.bias[gone & (torch.rand(gone.shape, generator=draw) > 1 / 3)] = 0


@pytest.mark.parametrize("seed", range(5))
def test_the_small_network_is_the_masked_one(made, seed):
    network, held, graph = made
    network.load_state_dict(held)
    mask(network, seed)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    small = shrink_traced(graph, reach(graph, state, fold=True))
    count = sum(p.numel() for p in small.parameters())
    assert count == parameters_left(graph, state, fold=True) < sum(p.numel() for p in network.parameters())
    inputs = torch.randn(1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        expected = network(inputs)
        assert (small(inputs) - expected).abs().max() <= 1e-9 * expected.abs().max()
