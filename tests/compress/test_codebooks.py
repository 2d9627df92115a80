import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from compress.channel import Link
from compress.codebooks import CodebookLayer, Reached, Shape, attach, codebooks_of, described, extend, use
from compress.graph import trace

SHAPE = Shape(4, 3, 3)


def _layer(scores="dot", modulation="none", number=0, shape=SHAPE):
    torch.manual_seed(0)
    return CodebookLayer(shape, Link(modulation, 20.0), scores, number)


def _entry(**changes):
    plain = {"layer": "0", "codebook_size": 4, "hidden_dim": 3, "channels": 3, "scores": "dot"}
    return {**plain, "modulation": "psk", "PSNR": 20.0, "common": [0, 1, 2, 3], **changes}


def _network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize("scores", ["dot", "distance"])
def test_a_vector_runs_across_the_channels_of_one_position(scores):
    layer, x = _layer(scores), torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        layer.embedding.normal_()
        out = layer(x)
    assert out.shape == x.shape
    for n, i, j in ((0, 0, 0), (1, 3, 4), (0, 2, 1)):
        z, words = x[n, :, i, j], layer.embedding.detach()
        products = words @ z if scores == "dot" else -(words - z).square().sum(1)
        assert torch.equal(out[n, :, i, j], words[products.argmax()])


def test_scores_are_attention_over_the_root_of_the_width():
    layer = _layer()
    z = torch.randn(7, 3)
    assert torch.allclose(layer.score(z), z @ layer.embedding.t() / math.sqrt(3))


def test_another_width_is_projected_there_and_back():
    layer = _layer(shape=Shape(4, 2, 3))
    x = torch.randn(2, 3, 4, 4)
    out = layer(x)
    assert out.shape == x.shape
    assert isinstance(layer.encode, nn.Linear)
    table = layer.decode(layer.embedding)
    rows = out.movedim(1, -1).reshape(-1, 3)
    assert float((rows[:, None] - table).abs().amax(2).min(1).values.max().detach()) < 1e-5


def test_a_vector_runs_across_the_channels_of_one_token():
    layer, x = _layer(), torch.randn(2, 5, 3)
    with torch.no_grad():
        layer.embedding.normal_()
        assert torch.equal(layer(x), layer(x.movedim(-1, 1)[..., None])[..., 0].movedim(1, -1))


def test_vectors_of_a_linear_layer_are_whole_rows():
    out = _layer()(torch.randn(6, 3))
    assert out.shape == (6, 3)


def test_an_idle_codebook_hands_on_what_comes():
    layer, x = _layer(), torch.randn(1, 3, 2, 2)
    layer.active = False
    assert layer(x) is x


def test_the_gradient_is_that_of_soft_choices():
    """Of y E with y = one-hot + soft - soft.detach()."""
    layer, x = _layer(), torch.randn(5, 3, 1, 1, requires_grad=True)
    weights = torch.randn(5, 3, 1, 1)
    (layer(x) * weights).sum().backward()
    z = x.detach().flatten(1).requires_grad_()
    table = layer.embedding.detach().clone().requires_grad_()
    scores = z @ table.t() / math.sqrt(3)
    soft = scores.softmax(1)
    y = nn.functional.one_hot(scores.argmax(1), 4) + soft - soft.detach()
    (y @ table * weights.flatten(1)).sum().backward()
    assert torch.allclose(x.grad.flatten(1), z.grad, atol=1e-6)
    assert torch.allclose(layer.embedding.grad, table.grad, atol=1e-6)


def test_evaluation_is_the_same_in_any_batch():
    layer, x = _layer(modulation="psk"), torch.randn(6, 3, 8, 8)
    layer.link = Link("psk", 5.0)
    with torch.no_grad():
        layer.embedding.normal_()
        out = layer(x)
        clean = _words(layer, x)
        assert torch.equal(out, torch.cat([layer(x[:1]), layer(x[1:])]))
    assert 0.01 < float((out != clean).any(1).double().mean()) < 0.5


def _words(layer, x):
    held, layer.link = layer.link, Link("none")
    out = layer(x)
    layer.link = held
    return out


def test_what_it_is_asked_for_ends_the_pass():
    layer, x = _layer(), torch.randn(2, 3, 4, 4)
    network = nn.Sequential(layer, nn.Linear(99, 1))
    for what, shape in (("vectors", (32, 3)), ("sent", (2, 4, 4))):
        with layer.asking(what), pytest.raises(Reached) as caught:
            network(x)
        assert caught.value.value.shape == shape
    assert layer.asked is None


# in a network


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return torch.relu(self.conv(x) + x)


@pytest.mark.parametrize("path", ["first", "first.conv", "second", "second.1", "flat"])
def test_it_stands_behind_any_layer_and_names_stay(path):
    layers = OrderedDict(first=Block(), second=nn.Sequential(Block(), nn.BatchNorm2d(3)), flat=nn.Flatten())
    network = nn.Sequential(OrderedDict(**layers, last=nn.Linear(12, 2))).eval()
    names, x = set(network.state_dict()), torch.randn(2, 3, 2, 2)
    before, given = [], []
    handle = network.get_submodule(path).register_forward_hook(lambda _, __, output: before.append(output.detach()))
    plain = network(x)
    handle.remove()
    layer = _layer(shape=Shape(4, *(before[0].shape[1],) * 2))
    attach(network, path, layer)
    assert set(network.state_dict()) - names == {f"{path}.codebook0.embedding"}
    assert torch.equal(use(network, None)(x), plain)
    handle = layer.register_forward_hook(lambda _, inputs, output: given.append(inputs[0].detach()))
    assert not torch.equal(use(network, 0)(x), plain)
    handle.remove()
    assert torch.equal(given[0], before[0])
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x))
    assert [type(m).__name__ for m in twin.modules()] == [type(m).__name__ for m in network.modules()]


def test_two_behind_one_layer_are_alternatives():
    network, x = _network(), torch.randn(3, 1, 2, 2)
    for number in (0, 1):
        attach(network, "0", _layer(number=number))
    with torch.no_grad():
        codebooks_of(network)[1].embedding.normal_()
    outputs = [use(network, n)(x) for n in (None, 0, 1)]
    assert len({tuple(o.flatten().tolist()) for o in outputs}) == 3
    assert [layer.number for layer in codebooks_of(network)] == [0, 1]


@pytest.mark.parametrize(("path", "step"), [("1", "1.codebook0"), ("0", "0"), ("2", "2")])
def test_a_traced_network_has_it_as_one_opaque_step(path, step):
    """Of a block of the network's own it is the codebook alone, of PyTorch's layers the two together."""
    network = nn.Sequential(nn.Conv2d(1, 3, 1), Block(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    attach(network, path, _layer())
    steps = {s.layer: s.kind for s in trace(network, (1, 2, 2)).steps.values() if s.layer}
    assert steps[step] == "opaque"
    assert steps["4"] == "linear"


# the card


def test_a_card_rebuilds_what_it_describes():
    network = _network()
    layer = _layer("distance", "qam", shape=Shape(4, 2, 3))
    card = {"codebooks": [described(layer, "0", [2, 0, 3, 1])], "codebook": 0}
    (found,) = codebooks_of(extend(network, card))
    assert (found.shape, found.link, found.scores, found.common) == (layer.shape, layer.link, "distance", (2, 0, 3, 1))
    assert found.active
    assert len(codebooks_of(extend(network, card))) == 1, "once is enough"
    assert codebooks_of(extend(_network(), {"network": {}})) == []


@pytest.mark.parametrize(
    "entry",
    [
        5,
        {},
        _entry(layer=3),
        _entry(layer="0.__class__"),
        _entry(layer="0 or exit()"),
        _entry(layer="nothing"),
        _entry(layer=""),
        _entry(codebook_size=0),
        _entry(codebook_size=10**9),
        _entry(codebook_size=True),
        _entry(hidden_dim=2.0),
        _entry(scores="eval"),
        _entry(modulation=["psk"]),
        _entry(modulation="fsk"),
        _entry(PSNR="20"),
        *(_entry(PSNR=psnr) for psnr in (float("nan"), 4000.0, -4000.0, 10**400)),
        _entry(common=[0, 1, 2]),
        _entry(common=[0, 1, 2, 2]),
        _entry(common=[0, 1, 2, "3"]),
        _entry(common=None),
    ],
)
def test_a_card_that_describes_none_is_refused_in_one_line(entry):
    with pytest.raises(ValueError, match=r"^card: codebooks\.0[^\n]*$"):
        extend(_network(), {"codebooks": [entry]})


@pytest.mark.parametrize("card", [{"codebooks": {}}, {"codebooks": []}, {"codebooks": [_entry()], "codebook": 1}])
def test_a_list_without_the_one_that_works_is_refused(card):
    with pytest.raises(ValueError, match=r"^card: codebooks must be a list"):
        extend(_network(), card)


def test_nothing_is_made_that_the_file_does_not_hold():
    held = {"0.codebook0.embedding": (4, 3)}
    extend(_network(), {"codebooks": [_entry()]}, held)
    for changes, wrong in (({"codebook_size": 5, "common": list(range(5))}, held), ({}, {}), ({"channels": 9}, held)):
        with pytest.raises(ValueError, match="among the tensors"):
            extend(_network(), {"codebooks": [_entry(**changes)]}, wrong)
