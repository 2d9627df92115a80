import pytest
import torch
from torch import nn

from tasks.lenet import lenet5, mlp


def test_lenet_300_100_has_its_layers():
    network = mlp((1, 28, 28), 10, (300, 100))
    layers = {n: (m.in_features, m.out_features) for n, m in network.named_children() if isinstance(m, nn.Linear)}
    assert layers == {"fc1": (784, 300), "fc2": (300, 100), "fc3": (100, 10)}
    assert not isinstance(network[-1], nn.ReLU)


def test_an_mlp_takes_inputs_of_any_shape():
    assert mlp((6,), 3, (5,))(torch.randn(2, 6)).shape == (2, 3)
    assert mlp((3, 2, 2), 4, ())(torch.randn(2, 3, 2, 2)).shape == (2, 4)


def test_lenet5_is_caffes():
    network = lenet5((1, 28, 28), 10)
    sizes = {n.rpartition(".")[0]: tuple(p.shape) for n, p in network.named_parameters() if n.endswith("weight")}
    assert sizes == {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    shapes = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda m, i, o, n=name: shapes.update({n: tuple(o.shape[1:])}))
    network(torch.randn(1, 1, 28, 28))
    assert [shapes[n] for n in ("conv1", "pool1", "conv2", "pool2")] == [
        (20, 24, 24), (20, 12, 12), (50, 8, 8), (50, 4, 4)
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 16), (2, 17, 40)])
def test_lenet5_takes_pictures_of_any_size_from_16(shape):
    assert lenet5(shape, 7)(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(1, 15, 28), (1, 28, 15), (1, 8, 8), (1, 3, 3)])
def test_lenet5_refuses_smaller_ones(shape):
    with pytest.raises(ValueError, match=rf"^pictures of {shape[1]}x{shape[2]}, expected 16x16 or larger$"):
        lenet5(shape, 10)
