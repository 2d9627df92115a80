import pytest
import torch
from torch import nn

from compress.importance import IMPORTANCES, needs_filters, output_axis


def _pair(layer):
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 0.0, -4.0, 1.0]).reshape(layer.weight.shape))
        norm.weight.copy_(torch.tensor([-2.0, 0.5]))
    return norm, layer


@pytest.mark.parametrize(
    ("name", "plain", "transposed"),
    [
        ("gamma", [2.0, 0.5], [2.0, 0.5]),
        ("filter_l1", [3.0, 5.0], [7.0, 1.0]),
        ("filter_l2", [3.0, 17**0.5], [5.0, 1.0]),
        ("scaled", [6.0, 0.5 * 17**0.5], [10.0, 0.5]),
    ],
)
def test_each_importance_is_what_it_says(name, plain, transposed):
    for layer, expected in ((nn.Conv2d(2, 2, 1), plain), (nn.ConvTranspose2d(2, 2, 1), transposed)):
        torch.testing.assert_close(IMPORTANCES[name](*_pair(layer)), torch.tensor(expected))
    torch.testing.assert_close(IMPORTANCES[name](*_pair(nn.Linear(2, 2))), torch.tensor(plain))


def test_outputs_of_a_grouped_transposed_convolution_lie_on_no_axis():
    assert output_axis(nn.ConvTranspose2d(2, 2, 1, groups=2)) is None
    assert (output_axis(nn.ConvTranspose2d(2, 2, 1)), output_axis(nn.Conv2d(2, 2, 1, groups=2))) == (1, 0)
    assert [name for name in IMPORTANCES if not needs_filters(name)] == ["gamma"]
