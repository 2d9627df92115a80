import gc

import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.watching import watch

INPUTS = torch.zeros(2, 1, 4, 4)


def test_of_a_trained_network_passes_in_training_are_noted(build):
    network = build()
    seen = watch(network, {"conv": "p.layers.0", "fc": "p.layers.1"})
    network.eval()(INPUTS)
    assert seen == {}
    network.train()
    with torch.no_grad():
        network(INPUTS)
    assert seen == {}, "without a gradient it is no training"
    outputs = network(INPUTS)
    assert list(seen) == ["conv", "fc"]
    assert seen["fc"] is outputs
    assert seen["conv"].shape == (2, 4, 4, 4)
    assert seen["conv"].requires_grad


def test_of_a_network_that_is_never_trained_every_pass_is_noted(build):
    network = build().eval().requires_grad_(False)
    seen = watch(network, {"fc": "p.layers.0"})
    with torch.no_grad():
        outputs = network(INPUTS)
    assert seen["fc"] is outputs


def test_the_first_pass_since_the_last_clearing_counts(build):
    network = build()
    seen = watch(network, {"fc": "p.layers.0"})
    first = network(INPUTS)
    network(INPUTS + 1)
    assert seen["fc"] is first
    seen.clear()
    third = network(INPUTS + 2)
    assert seen["fc"] is third


def test_a_layer_is_found_by_its_path_and_noted_as_it_was_named(build):
    network = nn.ModuleDict({"blocks": nn.Sequential(nn.Identity(), build())})
    seen = watch(network, {"blocks[1].conv": "p.layers.0"})
    network["blocks"](INPUTS)
    assert seen["blocks[1].conv"].shape == (2, 4, 4, 4)


def test_what_is_noted_and_the_network_stay_as_they_were(build):
    network, plain = build(), build()
    seen = watch(network, {"conv": "p.layers.0"})
    assert torch.equal(network(INPUTS), plain(INPUTS))
    assert torch.equal(seen["conv"], plain.conv(INPUTS))
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_a_network_is_watched_as_long_as_somebody_looks(build):
    """Trials come and go, and the dense network that they ask stays."""
    network = build()
    kept, seen = watch(network, {"fc": "p.layers.0"}), watch(network, {"fc": "p.layers.0", "conv": "p.layers.1"})
    del seen
    gc.collect()
    assert [len(layer._forward_hooks) for layer in (network.fc, network.conv)] == [1, 0]
    outputs = network(INPUTS)
    assert kept["fc"] is outputs


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convs", "p.layers.0 = 'convs': the network has no such layer; did you mean conv?"),
        ("nowhere", "p.layers.0 = 'nowhere': the network has no such layer"),
        ("", "p.layers.0 = '': must be a path to a layer"),
    ],
)
def test_a_layer_that_is_not_there_is_refused(build, name, words):
    with pytest.raises(KnobError) as caught:
        watch(build(), {name: "p.layers.0"})
    assert str(caught.value).startswith(words)


def test_a_layer_that_gives_more_than_one_tensor_is_refused():
    network = nn.Sequential(nn.LSTM(3, 2))
    watching = watch(network, {"[0]": "p.layers.0"})
    with pytest.raises(KnobError, match=r"^p\.layers\.0 = '\[0\]': must be a layer that gives one tensor$"):
        network(torch.zeros(4, 1, 3))
    assert watching == {}
