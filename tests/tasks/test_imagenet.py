"""torchvision's networks by name: its tensors, its function, its weights; most are built without memory, on meta."""

import sys

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

from compress.metrics import count_macs
from tasks import TaskError
from tasks.networks import build_network
from tasks.starts import find_start

PICTURE, CIFAR = (3, 224, 224), (3, 32, 32)
# trainable parameters with 1,000 classes, million MACs at 224x224: the tables of torchvision's models
PUBLISHED = {
    "resnet18": (11_689_512, 1814),
    "resnet34": (21_797_672, 3664),
    "resnet50": (25_557_032, 4089),
    "resnet101": (44_549_160, 7801),
    "resnet152": (60_192_808, 11514),
    "mobilenet_v2": (3_504_872, 301),
}
DEEP = ("resnet101", "resnet152")
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in sorted(PUBLISHED)]
pytestmark = pytest.mark.usefixtures("torchvision")


def on_meta(name, shape=PICTURE, classes=1000, **arguments):
    with torch.device("meta"):
        return build_network(name, shape, classes, arguments).eval()


@pytest.mark.parametrize("name", EVERY)
def test_parameters_and_macs_are_the_published_ones(name):
    network, (parameters, macs) = on_meta(name), PUBLISHED[name]
    assert sum(p.numel() for p in network.parameters()) == parameters
    counted = count_macs(network, PICTURE)
    assert round(counted.total / 1e6) == macs
    first = next(iter(counted.layers.values()))
    assert counted.training == 3 * counted.total - first  # the picture needs no gradient


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("name", EVERY)
def test_every_network_can_be_traced_and_takes_any_channels(name, stem):
    network = on_meta(name, (1, 32, 32), 7, stem=stem)
    traced, inputs = symbolic_trace(network), torch.empty(2, 1, 32, 32, device="meta")
    assert traced(inputs).shape == network(inputs).shape == (2, 7)
    assert count_macs(traced, (1, 32, 32)) == count_macs(network, (1, 32, 32))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_it_is_torchvisions_function_and_takes_its_weights_from_a_file(name, torchvision, tmp_path):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=10).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    start = find_start(str(tmp_path / "weights.pth"), name, True, "cifar10", tmp_path)
    assert (start.kind, start.split) == ("file", "test-halves")
    ours = build_network(name, CIFAR, 10, {}).eval()
    assert not torch.equal(next(ours.parameters()), next(theirs.parameters()))
    ours.load_state_dict(dict(start.state), strict=True)
    inputs = torch.randn(2, *CIFAR)
    with torch.no_grad():
        assert torch.equal(ours(inputs), theirs(inputs))


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_names_and_shapes_of_tensors_are_torchvisions(name, torchvision):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().state_dict()
    assert {n: v.shape for n, v in on_meta(name).state_dict().items()} == {n: v.shape for n, v in theirs.items()}


def test_weights_of_another_head_are_named(torchvision, tmp_path):
    torch.save(torchvision.models.mobilenet_v2(num_classes=3).state_dict(), tmp_path / "a.pt")
    start = find_start(str(tmp_path / "a.pt"), "mobilenet_v2", True, "digits", tmp_path)
    with pytest.raises(RuntimeError, match=r"size mismatch for classifier.1.weight"):
        build_network("mobilenet_v2", CIFAR, 10, {}).load_state_dict(dict(start.state))


@pytest.mark.parametrize(
    ("name", "last"), [("resnet18", "layer4"), ("resnet50", "layer4"), ("mobilenet_v2", "features")]
)
@pytest.mark.parametrize(("stem", "left"), [("imagenet", 1), ("small", 4)])
def test_the_small_stem_halves_the_picture_twice_less(name, last, stem, left):
    network, shapes = on_meta(name, CIFAR, 10, stem=stem), []
    network.get_submodule(last).register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[2:])))
    network(torch.empty(1, *CIFAR, device="meta"))
    assert shapes == [(left, left)]


def test_the_small_stem_is_a_convolution_of_nine_taps():
    """ResNet-18 for CIFAR-10 has 11,173,962 weights in kuangliu/pytorch-cifar, and 0.56 G MACs."""
    network = on_meta("resnet18", CIFAR, 10, stem="small")
    assert (network.conv1.kernel_size, network.conv1.stride, network.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(network.maxpool, nn.Identity)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    assert count_macs(network, CIFAR).total == 555_422_720


def test_tensors_of_both_stems_of_mobilenet_have_the_same_shapes():
    imagenet, small = (on_meta("mobilenet_v2", stem=stem).state_dict() for stem in ("imagenet", "small"))
    assert {n: v.shape for n, v in imagenet.items()} == {n: v.shape for n, v in small.items()}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_every_build_of_one_seed_is_the_same_and_of_another_is_not(name, stem):
    def build(seed):
        torch.manual_seed(seed)
        return build_network(name, (1, 32, 32), 10, {"stem": stem}).state_dict()

    one, again, other = build(1), build(1), build(2)
    assert all(torch.equal(value, again[n]) for n, value in one.items())
    assert not torch.equal(next(iter(one.values())), next(iter(other.values())))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_another_stem_is_refused(name):
    with pytest.raises(TaskError) as caught:
        build_network(name, CIFAR, 10, {"stem": "big"})
    assert str(caught.value) == f"network = '{name}': stem = 'big': must be one of imagenet, small"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_without_torchvision_the_way_to_get_it_is_named(monkeypatch, name):
    for module in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(TaskError) as caught:
        build_network(name, CIFAR, 10, {})
    assert str(caught.value).startswith(f"network = '{name}': needs torchvision; pip install 'ratefront[vit]' (")
    assert "\n" not in str(caught.value)
