import math

import pytest
import torch
from torch import nn

from compress.artifact import decode
from compress.method import KnobError
from compress.methods.swd import Swd
from compress.pruned import pruning_of
from tests.tiny import small_net, tiny_trainer


def _prepared(**knobs):
    torch.manual_seed(0)
    model, method = small_net(), Swd(**knobs)
    nn.init.normal_(model.bn1.weight)
    nn.init.normal_(model.bn1.bias)
    method.prepare(model, lambda: iter([torch.randn(4, 1, 8, 8)]))
    return model, method


def _copy(model):
    return {name: value.clone() for name, value in model.named_parameters()}


def test_the_strength_grows_geometrically_from_a_min_to_a_max():
    method = Swd(a_min=0.1, a_max=1e5)
    found = [method.strength(p) for p in (0.0, 0.5, 1.0, 2.0)]
    assert found == pytest.approx([0.1, 100.0, 1e5, 1e5])
    assert Swd(a_min=7, a_max=7).strength(0.3) == pytest.approx(7)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 1e6])
def test_the_decay_is_the_closed_form_at_any_strength_and_spares_the_rest(rate):
    model, method = _prepared(a_max=1e9, mu=0.01)
    before = _copy(model)
    method.proximal(model, 0.8, rate)
    gone, factor = pruning_of(model).gone, 1 / (1 + rate * method.strength(0.8) * 0.01)
    assert gone.sum() == 4
    for name, value in model.named_parameters():
        if name in ("bn1.weight", "bn1.bias"):
            torch.testing.assert_close(value[gone], before[name][gone] * factor)
            assert torch.equal(value[~gone], before[name][~gone])
        else:
            assert torch.equal(value, before[name]), name


def test_the_decay_minimises_what_it_says():
    """prox of η a μ/2 w² at v: the w where (w - v) + η a μ w = 0."""
    model, method = _prepared(a_min=3, a_max=3, mu=0.5)
    before = _copy(model)["bn1.weight"]
    method.proximal(model, 0.0, 0.1)
    gone = pruning_of(model).gone
    after = model.bn1.weight.detach()
    assert ((after - before + 0.1 * 3 * 0.5 * after)[gone]).abs().max() < 1e-6


@pytest.mark.parametrize(("reselect", "moved"), [("step", True), ("epoch", False)])
def test_what_is_going_to_be_pruned_is_chosen_anew(reselect, moved):
    model, method = _prepared(reselect=reselect)
    method.on_epoch(model, 0.0, lambda: iter(()))
    before = pruning_of(model).gone.clone()
    with torch.no_grad():
        model.bn1.weight.copy_(torch.where(before, 9.0, 0.1))
    method.proximal(model, 0.0, 0.1)
    assert torch.equal(pruning_of(model).gone, ~before if moved else before)
    method.on_epoch(model, 0.5, lambda: iter(()))
    assert torch.equal(pruning_of(model).gone, ~before)


@pytest.mark.parametrize("structure", ["norms", "filters", "weights"])
def test_each_structure_decays_and_prunes_its_own(structure):
    model, method = _prepared(structure=structure, a_min=1e6, a_max=1e6, mu=1, store="float32")
    before = _copy(model)
    method.proximal(model, 0.0, 1.0)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    norms, weights = {"bn1.weight", "bn1.bias"}, {"conv1.weight", "conv2.weight", "linear.weight"}
    assert changed == {"norms": norms, "filters": norms | {"conv1.weight"}, "weights": weights}[structure]
    zeros = {t.name: float((t.weights() == 0).mean()) for t in method.symbols(model)}
    assert all(zeros[name] > 0 for name in changed)
    if structure == "weights":
        entries = sum(before[name].numel() for name in weights)
        assert sum(round(zeros[name] * before[name].numel()) for name in weights) == entries // 2


def test_the_largest_weight_of_every_layer_stays():
    model, method = _prepared(structure="weights", pruning_rate=0.9999)
    with torch.no_grad():
        model.conv1.weight.mul_(1e-6)
    assert all((t.weights() != 0).sum() >= 1 for t in method.symbols(model))


def test_what_is_slated_has_almost_gone_by_the_end_and_the_file_is_pruned_at_every_epoch():
    trainer = tiny_trainer("swd", epochs=2, a_max=1e9, pruning_rate=0.5)
    for _ in range(2):
        metrics = trainer.epoch()
        shipped = trainer.shipped.network.bn1.weight
        assert len(shipped) == 4 or (shipped == 0).sum() == 4
    scale = trainer.model.bn1.weight.detach()
    gone = pruning_of(trainer.model).gone
    assert scale[gone].abs().max() < 0.05 * scale[~gone].abs().min()
    kept = torch.cat([scale, trainer.model.bn1.bias.detach()]).norm()
    lost = torch.cat([scale[gone], trainer.model.bn1.bias.detach()[gone]]).norm()
    measures = trainer.method.measures(trainer.model)
    assert measures == {"pruned": 0.5, "slated_norm": pytest.approx(float(lost / kept))}
    assert measures["slated_norm"] < 0.05
    assert metrics.accuracy > 0.7
    assert decode(trainer.shipped.data).size == metrics.size


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("a_min", (0.0, -1.0, math.inf, math.nan), "must be a finite number above 0"),
        ("a_max", (0.01, math.inf, math.nan), "must be a finite number from a_min"),
        ("mu", (-1e-3, math.inf, math.nan), "must be a finite number from 0"),
        ("structure", ("channels",), "must be one of norms, filters, weights"),
        ("reselect", ("never",), "must be one of step, epoch"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(name, values, rule):
    for value in values:
        with pytest.raises(KnobError) as caught:
            Swd(**{name: value})
        assert str(caught.value) == f"{name} = {value!r}: {rule}"


def test_single_weights_touch_no_residual_add():
    with pytest.raises(KnobError, match=r"^pruning_criterion = 'safe': must be global or local where structure"):
        Swd(structure="weights", pruning_criterion="safe")
