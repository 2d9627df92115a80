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
from compress.penalties import PENALTIES, Distill, GroupLasso, Hint, Step, build_penalties, penalty_knobs


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
    assert penalty_knobs("hint") == {"lambda": 1.0, "layers": ()}
    assert set(PENALTIES) == {"distill", "group_lasso", "hint"}


def test_penalties_are_built_from_plain_data():
    specs = [{"name": "group_lasso"}, {"name": "group_lasso", "lambda": 0.5, "axis": "out"}]
    assert build_penalties(specs) == [GroupLasso(), GroupLasso(lambda_=0.5, axis="out")]
    assert build_penalties([{"name": "distill", "lambda": 2, "temperature": 3}]) == [Distill(lambda_=2, temperature=3)]
    assert build_penalties([{"name": "hint", "lambda": 2, "layers": ["a"]}]) == [Hint(lambda_=2, layers=["a"])]
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


# hints


def _followed(ours, dense):
    """A step in which layers gave these outputs, the dense network's once it was asked; and how often it was."""
    asked, seen = [], {}

    def network(inputs):
        asked.append(inputs)
        seen.update(dense)
        return torch.zeros(1, 2)

    none = torch.zeros(1, 2)
    step = Step(model=nn.Identity(), inputs=none, outputs=none, target=none, dense=network, seen=ours, dense_seen=seen)
    return step, asked


def _distance(ours, dense):
    """|s - d|² / |d|² by plain loops in double precision."""
    pairs = list(zip(ours.flatten().tolist(), dense.flatten().tolist(), strict=True))
    return sum((s - d) ** 2 for s, d in pairs) / sum(d**2 for _, d in pairs)


def test_a_worked_example_of_hints():
    """|(3, 4) - (1, 4)|² / |(1, 4)|² = 4/17, and 9 of 9."""
    ours = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.zeros(1, 1), "c": torch.full((1, 1), 7.0)}
    dense = {"a": torch.tensor([[1.0, 4.0]]), "b": torch.full((1, 1), 3.0), "c": torch.zeros(1, 1)}
    value = Hint(lambda_=0.5, layers=["a", "b"])(_followed(ours, dense)[0])
    assert value.shape == ()
    assert value.item() == pytest.approx(0.5 * (4 / 17 + 1))


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 4), (2, 5, 3)])
def test_hints_equal_a_plain_loop(shape):
    ours, dense = ({name: torch.randn(shape) for name in "ab"} for _ in range(2))
    wanted = 3 * sum(_distance(ours[name], dense[name]) for name in "ab")
    assert Hint(lambda_=3.0, layers=["b", "a"])(_followed(ours, dense)[0]).item() == pytest.approx(wanted, rel=1e-5)


def test_hints_do_not_change_with_the_scale_of_a_layer():
    ours, dense = torch.randn(4, 3), torch.randn(4, 3)
    values = [Hint(layers=["a"])(_followed({"a": c * ours}, {"a": c * dense})[0]).item() for c in (1.0, 100.0)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert Hint(layers=["a"])(_followed({"a": ours}, {"a": ours.clone()})[0]).item() == 0


def test_a_dense_layer_of_zeros_gives_no_nan():
    zeros = torch.zeros(2, 3)
    assert Hint(layers=["a"])(_followed({"a": zeros}, {"a": zeros})[0]).item() == 0
    assert math.isfinite(Hint(layers=["a"])(_followed({"a": zeros + 1}, {"a": zeros})[0]).item())


def test_the_gradient_of_hints_reaches_the_student_alone():
    """2 λ (s - d) / |d|², by hand from the formula; the dense network is asked without a gradient."""
    student, dense, maps = nn.Linear(3, 5), nn.Linear(3, 5), {}
    dense.register_forward_hook(lambda module, inputs, output: maps.update(a=output))
    inputs = torch.randn(4, 3)
    outputs = student(inputs)
    outputs.retain_grad()
    step = Step(
        model=student, inputs=inputs, outputs=outputs, target=inputs, dense=dense, seen={"a": outputs}, dense_seen=maps
    )
    Hint(lambda_=3.0, layers=["a"])(step).backward()
    target = dense(inputs).detach()
    assert torch.allclose(outputs.grad, 6 * (outputs - target).detach() / target.square().sum(), atol=1e-6)
    assert student.weight.grad.count_nonzero() > 0
    assert [p.grad for p in dense.parameters()] == [None, None]


@pytest.mark.parametrize("hint", [Hint(lambda_=0, layers=["a"]), Hint(lambda_=0)])
def test_hints_of_no_strength_or_no_layer_ask_for_nothing(hint):
    step, asked = _followed({}, {})
    assert hint(step).item() == 0
    assert asked == []
    assert not hint.needs_dense
    assert hint.watches == {}


def test_hints_watch_their_layers_and_name_the_knob():
    hint = Hint(layers=["layer2", "layer1[2]"])
    assert hint.needs_dense
    assert hint.watches == {"layer2": "hint.layers.0", "layer1[2]": "hint.layers.1"}
    assert Distill().watches == GroupLasso().watches == {}


def test_hints_are_computed_in_float32():
    ours, dense = ({"a": torch.randn(8, 64).bfloat16()} for _ in range(2))
    value = Hint(layers=["a"])(_followed(ours, dense)[0])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(_distance(ours["a"].double(), dense["a"].double()), rel=1e-5)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (
            {"b": torch.ones(2, 3, 4), "a": torch.ones(2, 3)},
            "hint.layers.1 = 'b': its outputs must be of one shape in both networks, not (3, 4) and (3,)",
        ),
        ({"a": torch.ones(2, 3)}, "hint.layers.1 = 'b': must be a layer that both networks pass through"),
    ],
)
def test_hints_from_layers_that_do_not_compare_are_refused(ours, words):
    step, _ = _followed(ours, {"a": torch.ones(2, 3), "b": torch.ones(2, 3)})
    with pytest.raises(KnobError) as caught:
        Hint(layers=["a", "b"])(step)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"lambda": -1}, "hint.lambda = -1: must be a finite number from 0"),
        ({"lambda": math.inf}, "hint.lambda = inf: must be a finite number from 0"),
        ({}, "hint.layers = []: must name at least one layer"),
        ({"layers": "layer2"}, "hint.layers = 'layer2': must be a list of names"),
        ({"layers": ["layer2", 3]}, "hint.layers = ['layer2', 3]: must be a list of names"),
        ({"layers": None}, "hint.layers = None: must be a list of names"),
        ({"layers": {"layer2": 1}}, "hint.layers = {'layer2': 1}: must be a list of names"),
        ({"layer": ["layer2"]}, "hint.layer = ['layer2']: not a knob, one of lambda, layers"),
    ],
)
def test_errors_of_hints_name_knob_value_and_rule(knobs, words):
    with pytest.raises(KnobError) as caught:
        build_penalties([{"name": "hint", **knobs}])
    assert str(caught.value) == words
