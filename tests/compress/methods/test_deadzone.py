import numpy as np
import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.methods.deadzone import Deadzone
from compress.quantized import quantized_weights


def _prepared(build, no_batches, **knobs):
    model, method = build(), Deadzone(**knobs)
    method.prepare(model, no_batches)
    return model, method


def test_every_trained_parameter_is_in_exactly_one_group(build, no_batches):
    model, method = _prepared(build, no_batches)
    groups = method.parameter_groups(model)
    grouped = [id(p) for parameters in groups.values() for p in parameters]
    assert {name: len(parameters) for name, parameters in groups.items()} == {"base": 5, "dz": 2, "bit": 2}
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert all(p.dim() == 0 for p in groups["dz"] + groups["bit"])


@pytest.mark.parametrize(("bit", "dead_zone"), [(True, False), (False, True), (False, False)])
def test_only_what_is_learnable_is_trained(bit, dead_zone, build, no_batches):
    model, method = _prepared(build, no_batches, learnable_bit=bit, learnable_deadzone=dead_zone)
    groups = method.parameter_groups(model)
    assert (len(groups["dz"]), len(groups["bit"])) == (2 * dead_zone, 2 * bit)


def test_the_knobs_reach_the_quantizers(build, no_batches):
    model, _ = _prepared(build, no_batches, init_deadzone_logit=0.25, init_bit_logit=-0.5, max_bits=6)
    for _, quantizer, _ in quantized_weights(model):
        assert (quantizer.logit_dz.item(), quantizer.logit_bit.item()) == (0.25, -0.5)
        assert quantizer.bit_width().item() == round(4 * np.tanh(0.5) + 2)


def test_fixed_bits_are_fixed(build, no_batches):
    model, method = _prepared(build, no_batches, learnable_bit=False, fixed_bit_val=3)
    assert {s.bits for s in method.symbols(model)} == {3.0}
    assert max(np.abs(s.index).max() for s in method.symbols(model)) == 3


def test_the_penalty_is_the_papers(build, no_batches):
    model, method = _prepared(build, no_batches, lambda_dz=0.1, lambda_bit=0.03)
    groups = method.parameter_groups(model)
    values = {"dz": [0.5, -2.0], "bit": [1.0, 3.0]}
    for name, logits in values.items():
        for parameter, value in zip(groups[name], logits, strict=True):
            nn.init.constant_(parameter, value)
    penalty = method.penalty(model)
    assert penalty.item() == pytest.approx(0.1 * (0.25 + 4) + 0.03 * (1 + 9))
    penalty.backward()
    assert [p.grad.item() for p in groups["dz"]] == pytest.approx([0.1, -0.4])
    assert [p.grad.item() for p in groups["bit"]] == pytest.approx([0.06, 0.18])


def test_no_strength_no_penalty(build, no_batches):
    model, method = _prepared(build, no_batches)
    assert method.penalty(model).item() == 0
    model, method = _prepared(
        build, no_batches, lambda_dz=1.0, lambda_bit=1.0, learnable_deadzone=False, learnable_bit=False
    )
    assert method.penalty(model).item() == 0


def test_the_dead_zone_is_measured_in_widths_of_the_range(build, no_batches):
    model, method = _prepared(build, no_batches)
    for logit, (_, quantizer, _) in zip((0.3, -1.2), quantized_weights(model), strict=True):
        nn.init.constant_(quantizer.logit_dz, logit)
    assert method.measures(model) == {"dead_zone": pytest.approx(1 - (np.tanh(0.3) + np.tanh(1.2)) / 2)}


def test_a_wider_dead_zone_leaves_more_zeros(build, no_batches):
    zeros = []
    for logit in (3.0, 0.8, 0.3, 0.0):
        model, method = _prepared(build, no_batches, init_deadzone_logit=logit)
        zeros.append(sum(int((s.index == 0).sum()) for s in method.symbols(model)))
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[-1]


def test_a_step_moves_soft_weights_and_logits(build, no_batches):
    model, _ = _prepared(build, no_batches, init_deadzone_logit=0.8, init_bit_logit=0.4)
    before = {name: value.clone() for name, value in model.named_parameters()}
    torch.manual_seed(0)
    nn.functional.cross_entropy(model(torch.randn(8, 1, 4, 4)), torch.arange(8) % 3).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


@pytest.mark.parametrize("name", ["fixed_bit_val", "max_bits"])
@pytest.mark.parametrize("value", [1, 17, float("nan"), 4.5])
def test_bits_are_whole_numbers_from_2_to_16(name, value):
    with pytest.raises(KnobError, match=rf"^{name} = {value}: must be a whole number from 2 to 16$"):
        Deadzone(**{name: value})


@pytest.mark.parametrize("name", ["lambda_dz", "lambda_bit"])
@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_strengths_are_finite_numbers_from_0(name, value):
    with pytest.raises(KnobError, match=rf"^{name} = {value}: must be a finite number from 0$"):
        Deadzone(**{name: value})
