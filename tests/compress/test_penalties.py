import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.method import KnobError
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform
from compress.penalties import PENALTIES, Distill, GroupLasso, Step, build_penalties, penalty_knobs


def _of(model):
    """A step that only the model matters of."""
    none = torch.zeros(1, 1)
    return Step(model=model, inputs=none, outputs=none, target=none)


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
    penalty = GroupLasso(lambda_linear=1.0, lambda_conv=1.0, axis=axis)(_of(nn.Sequential(module)))
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(_lasso(module, axis), rel=1e-5)


def test_a_worked_example():
    model = nn.Sequential(nn.Linear(2, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0], [4, 0], [0, 0], [0, 1]]))
    by_input, by_output = (GroupLasso(lambda_linear=1, axis=axis)(_of(model)).item() for axis in ("in", "out"))
    assert by_input == pytest.approx(2 * (5 + 1))
    assert by_output == pytest.approx(math.sqrt(2) * (3 + 4 + 0 + 1))


def test_each_kind_of_layer_has_its_strength(build):
    model = build()
    conv, linear = _lasso(model.conv, "in"), _lasso(model.fc, "in")
    both = GroupLasso(lambda_=2.0, lambda_linear=0.3, lambda_conv=0.05)(_of(model))
    assert both.item() == pytest.approx(2 * (0.3 * linear + 0.05 * conv), rel=1e-5)
    assert GroupLasso(lambda_linear=0)(_of(model)).item() == pytest.approx(1e-4 * conv, rel=1e-5)
    assert GroupLasso(lambda_conv=0)(_of(model)).item() == pytest.approx(1e-4 * linear, rel=1e-5)
    assert GroupLasso(lambda_=0)(_of(model)).item() == 0


@pytest.mark.parametrize("axis", ["in", "out"])
def test_groups_of_zeros_have_a_finite_gradient(axis):
    model = nn.Sequential(nn.Linear(4, 3), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        model[0].weight[:, 1], model[0].weight[2], model[1].weight[:] = 0, 0, 0
    GroupLasso(lambda_linear=1, lambda_conv=1, axis=axis)(_of(model)).backward()
    assert torch.isfinite(model[0].weight.grad).all()
    assert model[0].weight.grad[0, 0] != 0
    assert model[1].weight.grad.tolist() == torch.zeros(2, 2, 3, 3).tolist()


def test_the_gradient_reaches_soft_weights_through_the_quantizer(no_batches):
    model = nn.Sequential(nn.Linear(6, 5, bias=False))
    Deadzone(init_deadzone_logit=0.8).prepare(model, no_batches)
    hard = model[0].weight.detach()
    soft = model[0].parametrizations.weight.original
    GroupLasso(lambda_linear=1)(_of(model)).backward()
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
    penalty = GroupLasso(lambda_linear=1)(_of(model)).item()
    assert penalty == pytest.approx(_lasso(model[0], "in"), rel=1e-5)
    assert penalty != pytest.approx(_lasso(soft, "in"), rel=1e-2)


def test_penalty_knobs_are_spelt_as_a_user_writes_them():
    assert penalty_knobs("group_lasso") == {"lambda": 1.0, "lambda_linear": 1e-4, "lambda_conv": 1e-4, "axis": "in"}
    assert penalty_knobs("distill") == {"lambda": 1.0, "temperature": 4.0}
    assert set(PENALTIES) == {"distill", "group_lasso"}


def test_penalties_are_built_from_plain_data():
    specs = [{"name": "group_lasso"}, {"name": "group_lasso", "lambda": 0.5, "axis": "out"}]
    assert build_penalties(specs) == [GroupLasso(), GroupLasso(lambda_=0.5, axis="out")]
    assert build_penalties([{"name": "distill", "lambda": 2, "temperature": 3}]) == [Distill(lambda_=2, temperature=3)]
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


# distillation


def _divergence(student, dense, temperature):
    """T² KL(dense || student), mean over the batch, by plain loops in double precision."""
    total = 0.0
    for s, d in zip(student.tolist(), dense.tolist(), strict=True):
        p, q = ([math.exp((x - max(row)) / temperature) for x in row] for row in (d, s))
        p, q = ([x / sum(row) for x in row] for row in (p, q))
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)
    return temperature**2 * total / len(student)


def _answer(outputs, dense):
    """A step of these logits, and how often the dense network was asked."""
    asked = []

    def network(inputs):
        asked.append(inputs)
        return dense

    inputs = torch.randn(len(outputs), 3)
    target = torch.zeros(len(outputs), dtype=torch.int64)
    step = Step(model=nn.Linear(3, 2), inputs=inputs, outputs=outputs, target=target, dense=network)
    return step, asked


logits = st.lists(st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=3), min_size=1, max_size=5)


@settings(deadline=None)
@given(student=logits, dense=logits, temperature=st.floats(1, 8), strength=st.floats(1e-2, 10))
def test_distillation_equals_a_plain_loop_and_is_never_negative(student, dense, temperature, strength):
    count = min(len(student), len(dense))
    student, dense = torch.tensor(student[:count]), torch.tensor(dense[:count])
    step, _ = _answer(student, dense)
    value = Distill(lambda_=strength, temperature=temperature)(step).item()
    wanted = strength * _divergence(student, dense, temperature)
    assert value == pytest.approx(wanted, rel=1e-3, abs=1e-4 * strength * temperature**2)
    assert value >= -1e-5 * strength * temperature**2


def test_a_worked_example_of_distillation():
    """softmax(ln 3, 0) = (3/4, 1/4) against (1/2, 1/2); at T = 2 the logits are doubled."""
    for temperature in (1.0, 2.0):
        dense = temperature * torch.tensor([[math.log(3), 0.0]])
        step, _ = _answer(torch.zeros(1, 2), dense)
        wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        value = Distill(lambda_=0.5, temperature=temperature)(step).item()
        assert value == pytest.approx(0.5 * temperature**2 * wanted, rel=1e-5)


def test_equal_answers_cost_nothing_whatever_is_added_to_the_logits():
    outputs = torch.randn(4, 5)
    assert Distill()(_answer(outputs, outputs + 3)[0]).item() == pytest.approx(0, abs=1e-5)


def test_the_gradient_of_distillation_reaches_the_student_alone():
    """T (softmax(s/T) - softmax(d/T)) / N, by hand from the formula."""
    outputs, weights = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    step, _ = _answer(outputs, weights * 2)
    Distill(temperature=3.0)(step).backward()
    wanted = 3 * (torch.softmax(outputs / 3, 1) - torch.softmax(weights * 2 / 3, 1)) / 4
    assert torch.allclose(outputs.grad, wanted, atol=1e-6)
    dense = nn.Linear(3, 5)
    step = Step(model=nn.Identity(), inputs=torch.randn(4, 3), outputs=outputs, target=torch.zeros(4), dense=dense)
    Distill()(step).backward()
    assert dense.weight.grad is None
    assert not step.dense_outputs.requires_grad


def test_the_dense_network_sees_the_inputs_of_the_step_once():
    step, asked = _answer(torch.randn(2, 5), torch.randn(2, 5))
    for _ in range(3):
        Distill()(step)
    assert len(asked) == 1
    assert asked[0] is step.inputs


def test_distillation_of_no_strength_asks_for_nothing():
    step, asked = _answer(torch.randn(2, 5), torch.randn(2, 5))
    assert Distill(lambda_=0)(step).item() == 0
    assert asked == []
    assert [p.needs_dense for p in (Distill(), Distill(lambda_=0), GroupLasso())] == [True, False, False]


def test_distillation_is_computed_in_float32():
    outputs, dense = torch.randn(4, 5).bfloat16(), torch.randn(4, 5).bfloat16()
    value = Distill()(_answer(outputs, dense)[0])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(_divergence(outputs.double(), dense.double(), 4), rel=1e-4)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"lambda": -1}, "distill.lambda = -1: must be a finite number from 0"),
        ({"lambda": math.nan}, "distill.lambda = nan: must be a finite number from 0"),
        ({"temperature": 0}, "distill.temperature = 0: must be a finite number above 0"),
        ({"temperature": -2}, "distill.temperature = -2: must be a finite number above 0"),
        ({"temperature": math.inf}, "distill.temperature = inf: must be a finite number above 0"),
        ({"temperature": math.nan}, "distill.temperature = nan: must be a finite number above 0"),
        ({"tau": 3}, "distill.tau = 3: not a knob, one of lambda, temperature"),
    ],
)
def test_errors_of_distillation_name_knob_value_and_rule(knobs, words):
    with pytest.raises(KnobError) as caught:
        build_penalties([{"name": "distill", **knobs}])
    assert str(caught.value) == words
