from collections import OrderedDict

import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.splits import find_layer, halfway, is_cut, layer_path
from tasks.networks import build_network
from tests.tiny import small_net


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return build_network("resnet20", (3, 16, 16), 10, {"maps": 4})


def test_paths_are_read_and_never_run():
    assert layer_path("k", "layer1[0]") == "layer1.0"
    assert layer_path("k", "layer1[2].bn1") == "layer1.2.bn1"
    assert layer_path("k", "a.b.c") == "a.b.c"
    assert layer_path("k", "[0].conv1") == layer_path("k", "0.conv1") == "0.conv1"
    for wrong in (
        "",
        "layer1[-1]",
        "layer1[0",
        "__import__('os')",
        "a b",
        "a..b",
        "a;b",
        "layer1[x]",
        None,
        3,
        "a[0]()",
    ):
        with pytest.raises(KnobError, match=r"^k = .*: must be a path to a layer"):
            layer_path("k", wrong)


def test_an_unknown_path_is_answered_with_the_nearest(resnet):
    assert find_layer("k", "layer1[2].conv2", resnet) == "layer1.2.conv2"
    for written, near in (
        ("layer1[3]", r"layer1\[[012]\]"),
        ("layer11", "layer1"),
        ("layer1[0].conv3", r"layer1\[0\]\.conv"),
    ):
        with pytest.raises(KnobError, match=rf"^k = .*: the network has no such layer; did you mean .*{near}.*\?$"):
            find_layer("k", written, resnet)


def test_a_list_of_layers_is_no_layer():
    network = nn.Sequential(OrderedDict(parts=nn.ModuleList([nn.ReLU()])))
    with pytest.raises(KnobError, match="no such layer"):
        find_layer("k", "parts", network)


@pytest.mark.parametrize(
    ("path", "cut"),
    [
        ("conv1", True),
        ("layer1", True),
        ("layer1.0", True),
        ("layer2.2", True),
        ("linear", True),
        ("layer1.0.conv1", False),
        ("layer2.0.bn2", False),
    ],
)
def test_a_cut_has_nothing_going_around_it(path, cut, resnet):
    before = {n: v.clone() for n, v in resnet.state_dict().items()}
    resnet.train()
    assert is_cut(resnet, path, torch.randn(4, 3, 16, 16)) == cut
    assert resnet.training
    assert all(torch.equal(v, before[n]) for n, v in resnet.state_dict().items())


@pytest.mark.parametrize("batch", [torch.randn(1, 3, 16, 16), torch.zeros(3, 3, 16, 16)], ids=["one", "alike"])
def test_a_picture_alone_tells_what_goes_around_a_layer(batch, resnet):
    assert not is_cut(resnet, "layer1.0.conv1", batch)
    assert is_cut(resnet, "layer1.0", batch)
    assert halfway(resnet, batch) == "layer2.0"


def test_a_layer_that_is_called_twice_is_no_cut():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 1, 3), nn.ReLU()

        def forward(self, x):
            return self.relu(self.relu(self.conv(x)) - 1).flatten(1)

    network, batch = Twice(), torch.randn(4, 1, 6, 6)
    assert is_cut(network, "conv", batch)
    assert not is_cut(network, "relu", batch)


def test_halfway_is_the_last_cut_in_the_first_half_of_the_work(resnet):
    assert halfway(resnet, torch.randn(4, 3, 16, 16)) == "layer2.0"
    assert halfway(small_net(), torch.randn(4, 1, 8, 8)) == "bn1"
    assert halfway(nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 2)), torch.randn(4, 4)) == "0"


def test_where_nothing_is_a_cut_it_is_said():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x) + x

    with pytest.raises(KnobError, match=r"^codebooks: the network has no layer that everything passes through"):
        halfway(Around(), torch.randn(4, 4))
