"""Networks made ready to be run give what they gave."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.channel import Link
from compress.codebooks import CodebookLayer, Shape, attach
from compress.inference import for_inference
from compress.shrink import shrink
from tests.compress.test_shrink import SHAPE, masked, network

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def several(made):
    return [module for module in made.modules() if hasattr(module, "pixels")]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(4, 17),
    st.sampled_from([2, 4, 8, 16]),
    st.booleans(),
)
def test_any_convolution_is_itself(outputs, kernel, rows, stride, padding, size, lanes, bias):
    torch.manual_seed(outputs * size)
    layer = nn.Conv2d(3, outputs, (min(rows, size), min(kernel, size)), (1, stride), padding, bias=bias).double()
    made = for_inference(nn.Sequential(layer), (3, size, size), lanes)
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(made(x), layer(x), **EXACT)
    assert made(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("name", ["odd", "resnet20", "lenet5", "lenet300"])
def test_a_network_gives_what_it_gave(name, lanes):
    made = network(name, seed=3)
    ready = for_inference(made, SHAPE, lanes)
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(ready(x), made(x), **EXACT)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ready.modules())
    assert bool(several(ready)) == (lanes == 16 and name != "lenet300")


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.3, 0.7, 1.0]))
def test_a_shrunk_network_gives_what_the_masked_one_gave(seed, rate):
    made = masked(network("resnet20", seed), seed, rate, constants=True)
    ready = for_inference(shrink(made, SHAPE), SHAPE, lanes=8)
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(ready(x), made(x), **EXACT)


def test_sums_of_what_others_read_are_not_written_over():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            a, b = self.one(x), self.two(x)
            return (a + a) * a + (b + a.mean((2, 3), keepdim=True)) + (b + 1)

    torch.manual_seed(0)
    made, x = Sums().double().eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(for_inference(made, (3, 8, 8), 16)(x), made(x), **EXACT)


def test_residual_sums_are_written_over_their_branch():
    made = for_inference(network("resnet20", seed=0), SHAPE)
    assert sum(node.target == "add_" for node in made.graph.nodes) == 9


def test_the_network_itself_is_left_alone():
    made = network("resnet20", seed=0).train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    ready = for_inference(made, SHAPE, lanes=16)
    assert made.training
    assert not ready.training
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(p.requires_grad for p in made.parameters())
    assert not any(p.requires_grad for p in ready.parameters())


def test_codebooks_stay_where_they_are():
    made = network("resnet20", seed=2)
    layer = CodebookLayer(Shape(4, 4, 4), Link("psk", 12.0)).double()
    attach(made, "layer1.2", layer)
    ready = for_inference(made, SHAPE, lanes=16)
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(ready(x), made(x), **EXACT)
    assert any(isinstance(m, CodebookLayer) for m in ready.modules())


def test_a_layer_used_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.layer(x)
            return self.norm(x) + self.layer(x)

    torch.manual_seed(0)
    made = Twice().double().eval()
    made.norm.running_mean += 1
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(for_inference(made, (3, 8, 8), 16)(x), made(x), **EXACT)


def test_inputs_of_another_width_are_refused():
    ready = for_inference(network("resnet20", seed=0), SHAPE, lanes=16)
    with pytest.raises(ValueError, match="inputs 24 wide: this layer was made ready for 16"):
        ready(torch.randn(1, 3, 16, 24, dtype=torch.float64))


def test_a_network_that_cannot_be_followed_is_copied():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else self.layer(-x)

    made = Branches()
    ready = for_inference(made, (3, 8, 8), 16)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ready(x), made(x), rtol=1e-5, atol=1e-6)
    assert ready.layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert ready is not made


def test_volumes_keep_their_layout():
    torch.manual_seed(0)
    made, x = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)).eval(), torch.randn(2, 1, 5, 5, 5)
    torch.testing.assert_close(for_inference(made, (1, 5, 5, 5))(x), made(x), rtol=1e-5, atol=1e-6)
