import pytest
import torch
from torch import nn

from tasks.vgg import Vgg

WIDTHS = {
    11: [64, 128, 256, 256, 512, 512, 512, 512],
    13: [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
    16: [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    19: [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8,
}


@pytest.mark.parametrize("depth", sorted(WIDTHS))
def test_convolutions_are_the_published_ones_each_with_a_norm(depth):
    network = Vgg((3, 32, 32), 10, depth)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == WIDTHS[depth]
    assert {(c.kernel_size, c.padding, c.bias is None) for c in convolutions} == {((3, 3), (1, 1), True)}
    assert [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == WIDTHS[depth]
    assert depth == len(convolutions) + 3  # of the three linear layers of the original one is left
    assert [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)] == [(512, 10)]


@pytest.mark.parametrize("depth", sorted(WIDTHS))
def test_names_of_the_features_are_torchvisions_of_the_kind_with_norms_without_the_biases_that_norms_undo(
    depth, torchvision
):
    with torch.device("meta"):
        ours, theirs = Vgg((3, 32, 32), 10, depth), getattr(torchvision.models, f"vgg{depth}_bn")().features
    norms = {n for n, m in theirs.named_modules() if isinstance(m, nn.BatchNorm2d)}
    names = {n for n in theirs.state_dict() if not n.endswith(".bias") or n.removesuffix(".bias") in norms}
    assert set(ours.features.state_dict()) == names


def test_four_poolings_leave_a_sixteenth():
    network, shapes = Vgg((3, 32, 32), 10, 11), []
    network.features.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape)))
    network(torch.randn(2, 3, 32, 32))
    assert shapes == [(2, 512, 2, 2)]


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 33, 48)])
def test_pictures_of_any_size_from_16_are_averaged_at_the_end(shape):
    assert Vgg(shape, 4, 11)(torch.randn(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize("shape", [(3, 15, 32), (3, 32, 15), (1, 8, 8)])
def test_smaller_ones_are_refused(shape):
    with pytest.raises(ValueError, match=rf"^pictures of {shape[1]}x{shape[2]}, expected 16x16 or larger$"):
        Vgg(shape, 10)


@pytest.mark.parametrize("depth", [0, 12, 20])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f"^depth = {depth}, expected one of 11, 13, 16, 19$"):
        Vgg((3, 32, 32), 10, depth)
