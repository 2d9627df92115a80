import copy
import math

import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.methods.slimming import Slimming
from compress.pruned import pruning_of
from compress.schedules import Shape, learning_rate_factor
from tests.tiny import OPTIMIZER, small_net, tiny_start, tiny_task, tiny_trainer
from trainables.trainer import Recipe, Trainer


def _prepared(**knobs):
    torch.manual_seed(0)
    model, method = small_net(), Slimming(**knobs)
    nn.init.normal_(model.bn1.weight)
    method.prepare(model, lambda: iter([torch.randn(4, 1, 8, 8)]))
    return model, method


def _cosine(progress):
    return learning_rate_factor("cosine", progress, Shape())


# the penalty


def test_the_proximal_step_is_soft_thresholding_and_reaches_zero():
    model, method = _prepared(liu2017_penalty=2.0)
    before = model.bn1.weight.detach().clone()
    method.proximal(model, 0.1, 0.25)
    expected = before.sign() * (before.abs() - 0.5).clamp_min(0)
    assert torch.equal(model.bn1.weight.detach(), expected)
    assert 0 < (expected == 0).sum() < 8
    assert method.penalty(model).item() == 0


def test_smooth_l1_is_huber_of_the_chosen_delta():
    model, method = _prepared(liu2017_penalty=2.0, penalty_form="smooth_l1", smooth_delta=0.5)
    before = model.bn1.weight.detach().clone()
    size = before.abs()
    expected = torch.where(size < 0.5, size.square(), size - 0.25)
    penalty = method.penalty(model)
    assert penalty.item() == pytest.approx(2 * expected.sum().item())
    penalty.backward()
    torch.testing.assert_close(model.bn1.weight.grad, 2 * (before / 0.5).clamp(-1, 1))
    method.proximal(model, 0.1, 0.25)
    assert torch.equal(model.bn1.weight, before)


@pytest.mark.parametrize("form", ["l1", "smooth_l1"])
def test_the_penalty_ends_with_the_last_pruning(form):
    model, method = _prepared(liu2017_penalty=2.0, penalty_form=form)
    method.on_epoch(model, 0.6, lambda: iter(()))
    before = model.bn1.weight.detach().clone()
    method.proximal(model, 0.6, 0.25)
    assert torch.equal(model.bn1.weight, before)
    assert method.penalty(model).item() == 0


def test_training_with_the_penalty_gives_exact_zeros():
    trainer = tiny_trainer("slimming", epochs=4, liu2017_penalty=40.0, fine_tuning_epochs=0)
    for _ in range(4):
        trainer.train_epoch()
    assert (trainer.model.bn1.weight == 0).sum() >= 2


# the budget


@pytest.mark.parametrize(
    ("knobs", "ends"),
    [
        ({}, [0.5, 1.0]),
        ({"training_epochs": 6, "fine_tuning_epochs": 1, "pruning_iterations": 2}, [0.75, 0.875, 1.0]),
        ({"training_epochs": 0, "fine_tuning_epochs": 3}, [0.0, 1.0]),
        ({"training_epochs": 5, "fine_tuning_epochs": 0}, [1.0, 1.0]),
        (
            {"training_epochs": 4, "fine_tuning_epochs": 1, "pruning_iterations": 2, "additional_final_epochs": 2},
            [0.5, 0.625, 1.0],
        ),
    ],
)
def test_the_budget_is_divided_in_proportion(knobs, ends):
    method = Slimming(**knobs)
    assert method.ends == pytest.approx(ends)
    for epochs in (1, 2, 7, 80):
        phases = method.phases(epochs)
        assert sum(phases.values()) == epochs
        assert min(phases.values()) >= 0
    assert list(method.phases(80).values()) == [round(80 * (b - a)) for a, b in zip([0, *ends], ends, strict=False)]


def test_progress_leads_through_the_phases():
    method = Slimming(training_epochs=2, fine_tuning_epochs=1, pruning_iterations=2)
    assert [method.phase(p) for p in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == [0, 0, 1, 1, 2, 2]
    assert Slimming(training_epochs=0).phase(0.0) == 1
    assert Slimming(fine_tuning_epochs=0).phase(0.99) == 0


@pytest.mark.parametrize("rewinding", [True, False])
def test_the_learning_rate_of_fine_tuning_is_not_zero(rewinding):
    method = Slimming(training_epochs=2, fine_tuning_epochs=1, pruning_iterations=2, lr_rewinding=rewinding)
    rates = [method.learning_rate(p, _cosine) for p in (0.0, 0.25, 0.499, 0.5, 0.625, 0.75, 0.875)]
    assert rates[:3] == pytest.approx([1, 0.5, 0], abs=1e-4)
    assert rates[3:] == pytest.approx([1, 0.5, 1, 0.5] if rewinding else [0.1] * 4)


def test_the_trainer_uses_the_rate_that_the_method_says():
    trainer = tiny_trainer("slimming", epochs=2, lr_rewinding=False, fine_tuning_lr=0.3)
    trainer.epoch()
    assert trainer.epoch().learning_rate == pytest.approx(0.3 * 2e-3)


# the masks


def test_the_mask_stays_through_fine_tuning():
    trainer = tiny_trainer("slimming", epochs=3, training_epochs=1, fine_tuning_epochs=2, importance="filter_l1")
    trainer.epoch()
    assert not pruning_of(trainer.model).gone.any()
    trainer.epoch()
    gone = pruning_of(trainer.model).gone.clone()
    assert gone.sum() == 4
    trainer.epoch()
    model = trainer.model
    assert torch.equal(pruning_of(model).gone, gone)
    assert not model.bn1.weight[gone].any()
    assert not model.bn1.bias[gone].any()
    assert not model.conv1.weight[gone].any()
    assert model.bn1.weight[~gone].all()


def test_every_round_prunes_its_share_and_keeps_what_went_before():
    trainer = tiny_trainer("slimming", epochs=3, training_epochs=0, fine_tuning_epochs=1, pruning_iterations=3,
                           pruning_rate=0.75)  # fmt: skip
    before = torch.zeros(8, dtype=torch.bool)
    for count in (2, 4, 6):
        trainer.epoch()
        gone = pruning_of(trainer.model).gone
        assert gone.sum() == count
        assert not (before & ~gone).any()
        before = gone.clone()


def test_a_round_may_begin_within_an_epoch_and_is_resumed_there():
    def trainer():
        return tiny_trainer("slimming", epochs=2, training_epochs=3, fine_tuning_epochs=1, liu2017_penalty=1.0)

    whole, resumed = trainer(), trainer()
    whole.epoch()
    resumed.restore(copy.deepcopy(whole.state()))
    assert whole.epoch().loss == resumed.epoch().loss
    assert int(pruning_of(whole.model).phase) == 1
    assert whole.shipped.data == resumed.shipped.data
    midway = trainer()
    midway.restore(copy.deepcopy(whole.state()))
    assert midway.ship().data == whole.shipped.data


def test_files_are_pruned_at_the_full_rate_from_the_first():
    trainer = tiny_trainer("slimming", epochs=2, training_epochs=1, fine_tuning_epochs=1, pruning_rate=0.75)
    trainer.measure()
    for _ in range(3):
        scale = trainer.shipped.network.bn1.weight
        assert len(scale) == 2 or (scale == 0).sum() == 6
        trainer.epoch()


def test_without_penalty_and_by_filter_l1_it_is_the_pruning_of_filters():
    knobs = {"importance": "filter_l1", "liu2017_penalty": 0.0, "training_epochs": 0, "pruning_rate": 0.5}
    recipe = Recipe(method="slimming", knobs=knobs, optimizer=OPTIMIZER, epochs=1, seed=3)
    trainer = Trainer(tiny_task(), recipe, tiny_start(), torch.device("cpu"))
    sizes = tiny_start()["conv1.weight"].abs().sum((1, 2, 3))
    trainer.epoch()
    assert set(pruning_of(trainer.model).gone.nonzero().flatten().tolist()) == set(sizes.argsort()[:4].tolist())


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("liu2017_penalty", (-1.0, math.inf, math.nan), "must be a finite number from 0"),
        ("training_epochs", (-1.0, math.inf), "must be a finite number from 0"),
        ("fine_tuning_epochs", (-1.0, math.nan), "must be a finite number from 0"),
        ("additional_final_epochs", (-1.0, math.nan), "must be a finite number from 0"),
        ("smooth_delta", (0.0, math.inf), "must be a finite number above 0"),
        ("fine_tuning_lr", (0.0, math.nan), "must be a finite number above 0"),
        ("penalty_form", ("l2",), "must be one of l1, smooth_l1"),
        ("pruning_iterations", (0, 1.5, True), "must be a whole number from 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(name, values, rule):
    for value in values:
        with pytest.raises(KnobError) as caught:
            Slimming(**{name: value})
        assert str(caught.value) == f"{name} = {value!r}: {rule}"


def test_a_budget_of_nothing_cannot_be_divided():
    with pytest.raises(KnobError, match=r"^training_epochs = 0: must be above 0 where nothing is fine-tuned$"):
        Slimming(training_epochs=0, fine_tuning_epochs=0)
