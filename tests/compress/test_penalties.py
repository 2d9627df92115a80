import math

import numpy as np
import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform
from compress.penalties import PENALTIES, GroupLasso, build_penalties, penalty_knobs


def _blocks(module, axis):
    """The groups of one layer's weight, each a numpy array, by plain loops over its definition."""
    w = module.weight.detach().numpy().astype(np.float64)
    if isinstance(module, nn.Linear):
        return [w[:, i] for i in range(w.shape[1])] if axis == "in" else list(w)
    transposed = module.transposed
    if (axis == "out") != transposed:  # the axis that the kernel has in full
        return list(w)
    share = w.shape[0] // module.groups
    return [w[g * share : (g + 1) * share, i] for g in range(module.groups) for i in range(w.shape[1])]


def _lasso(module, axis):
    return sum(math.sqrt(block.size) * math.sqrt((block**2).sum()) for block in _blocks(module, axis))


LAYERS = {
    "linear": (lambda: nn.Linear(7, 4), 7, 4),
    "conv1d": (lambda: nn.Conv1d(3, 5, 4), 3, 5),
    "conv2d": (lambda: nn.Conv2d(3, 5, (2, 3)), 3, 5),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), 2, 3),
    "grouped": (lambda: nn.Conv2d(6, 9, 3, groups=3), 6, 9),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), 4, 8),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 2), 3, 5),
    "transposed grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), 4, 6),
}


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_group_lasso_equals_a_plain_loop(name, axis):
    make, inputs, outputs = LAYERS[name]
    torch.manual_seed(1)
    module = make()
    assert len(_blocks(module, axis)) == (inputs if axis == "in" else outputs)
    penalty = GroupLasso(lambda_linear=1.0, lambda_conv=1.0, axis=axis)(nn.Sequential(module))
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(_lasso(module, axis), rel=1e-5)


def test_a_worked_example():
    model = nn.Sequential(nn.Linear(2, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0], [4, 0], [0, 0], [0, 1]]))
    by_input, by_output = (GroupLasso(lambda_linear=1, axis=axis)(model).item() for axis in ("in", "out"))
    assert by_input == pytest.approx(2 * (5 + 1))
    assert by_output == pytest.approx(math.sqrt(2) * (3 + 4 + 0 + 1))


def test_each_kind_of_layer_has_its_strength(build):
    model = build()
    conv, linear = _lasso(model.conv, "in"), _lasso(model.fc, "in")
    both = GroupLasso(lambda_=2.0, lambda_linear=0.3, lambda_conv=0.05)(model)
    assert both.item() == pytest.approx(2 * (0.3 * linear + 0.05 * conv), rel=1e-5)
    assert GroupLasso(lambda_linear=0)(model).item() == pytest.approx(1e-4 * conv, rel=1e-5)
    assert GroupLasso(lambda_conv=0)(model).item() == pytest.approx(1e-4 * linear, rel=1e-5)
    assert GroupLasso(lambda_=0)(model).item() == 0


@pytest.mark.parametrize("axis", ["in", "out"])
def test_groups_of_zeros_have_a_finite_gradient(axis):
    model = nn.Sequential(nn.Linear(4, 3), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        model[0].weight[:, 1], model[0].weight[2], model[1].weight[:] = 0, 0, 0
    GroupLasso(lambda_linear=1, lambda_conv=1, axis=axis)(model).backward()
    assert torch.isfinite(model[0].weight.grad).all()
    assert model[0].weight.grad[0, 0] != 0
    assert model[1].weight.grad.tolist() == torch.zeros(2, 2, 3, 3).tolist()


def test_the_gradient_reaches_soft_weights_through_the_quantizer(no_batches):
    model = nn.Sequential(nn.Linear(6, 5, bias=False))
    Deadzone(init_deadzone_logit=0.8).prepare(model, no_batches)
    hard = model[0].weight.detach()
    soft = model[0].parametrizations.weight.original
    GroupLasso(lambda_linear=1)(model).backward()
    norms = torch.linalg.vector_norm(hard, dim=0)
    wanted = torch.where(norms > 0, math.sqrt(5) * hard / norms, 0.0)
    assert (hard == 0).any()
    assert soft.grad.count_nonzero() > 0
    assert torch.allclose(soft.grad, wanted, atol=1e-6)
    assert model[0].parametrizations.weight[0].logit_dz.grad.item() != 0


def test_the_penalty_is_of_hard_weights(no_batches):
    model = nn.Sequential(nn.Linear(6, 5, bias=False))
    Uniform(bitwidth=2).prepare(model, no_batches)
    soft = nn.Linear(6, 5, bias=False)
    soft.weight = model[0].parametrizations.weight.original
    penalty = GroupLasso(lambda_linear=1)(model).item()
    assert penalty == pytest.approx(_lasso(model[0], "in"), rel=1e-5)
    assert penalty != pytest.approx(_lasso(soft, "in"), rel=1e-2)


def test_penalty_knobs_are_spelt_as_a_user_writes_them():
    assert penalty_knobs("group_lasso") == {"lambda": 1.0, "lambda_linear": 1e-4, "lambda_conv": 1e-4, "axis": "in"}
    assert list(PENALTIES) == ["group_lasso"]


def test_penalties_are_built_from_plain_data():
    specs = [{"name": "group_lasso"}, {"name": "group_lasso", "lambda": 0.5, "axis": "out"}]
    assert build_penalties(specs) == [GroupLasso(), GroupLasso(lambda_=0.5, axis="out")]
    assert build_penalties([]) == []


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"axis": "both"}, "group_lasso.axis = 'both': must be in or out"),
        ({"lambda": -1}, "group_lasso.lambda = -1: must be a finite number from 0"),
        ({"lambda_conv": math.inf}, "group_lasso.lambda_conv = inf: must be a finite number from 0"),
        ({"lambda_linear": math.nan}, "group_lasso.lambda_linear = nan: must be a finite number from 0"),
        ({"lambda_": 1}, "group_lasso.lambda_ = 1: not a knob, one of lambda, lambda_linear, lambda_conv, axis"),
        ({"strength": 3}, "group_lasso.strength = 3: not a knob, one of lambda,"),
    ],
)
def test_errors_name_knob_value_and_rule(knobs, words):
    with pytest.raises(KnobError) as caught:
        build_penalties([{"name": "group_lasso", **knobs}])
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
