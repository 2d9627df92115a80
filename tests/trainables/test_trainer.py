"""One trial without Ray. That it resumes, ships and steps is in the contract; here is what the contract does not ask."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.artifact import decode, load_into
from compress.method import KnobError
from compress.metrics import count_macs
from compress.quantizers import DeadzoneQuantizer
from compress.schedules import Shape, learning_rate_factor
from tests.tiny import OPTIMIZER, tiny_start, tiny_task, tiny_trainer
from trainables.dense import fixed_dense
from trainables.trainer import Diverged, Recipe, Trainer

CPU = torch.device("cpu")
DISTILL = ({"name": "distill", "lambda": 2.0, "temperature": 3.0},)


def trainer_of(method="deadzone", start=True, dense=None, **changes):
    recipe = Recipe(method=method, optimizer=OPTIMIZER, epochs=2, seed=3, images=256)
    return Trainer(tiny_task(), replace(recipe, **changes), tiny_start() if start else None, CPU, dense)


def tiny_dense():
    return fixed_dense(tiny_task(), {name: value.numpy() for name, value in tiny_start().items()}, CPU)


def record_outputs(module, kept):
    module.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))


def test_the_first_measure_is_of_the_converted_untrained_network():
    metrics = trainer_of().measure()
    assert (metrics.epoch, metrics.loss, metrics.learning_rate, metrics.images_per_second) == (0, 0.0, 0.0, 0.0)
    assert metrics.accuracy > 0.5


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_divergence(poison):
    trainer = trainer_of()
    with torch.no_grad():
        next(trainer.model.parameters()).view(-1)[0] = poison
    with pytest.raises(Diverged, match="a weight is not finite"):
        trainer.measure()
    with pytest.raises(Diverged, match=r"not finite|loss is nan in epoch 1"):
        trainer.epoch()


def epoch_or_none(trainer):
    try:
        return trainer.epoch()
    except Diverged:
        return None


@pytest.mark.parametrize("rate", [1e6, 1e9, 1e12, 1e30])
@pytest.mark.parametrize("method", ["baseline", "uniform", "deadzone"])
def test_at_a_hopeless_learning_rate_what_is_finite_is_measured_and_the_rest_diverges(method, rate):
    metrics = epoch_or_none(trainer_of(method, optimizer={**OPTIMIZER, "base": {"lr": rate}}))
    if metrics is None:
        return
    assert rate < 1e30
    assert math.isfinite(metrics.loss)
    assert 0 <= metrics.accuracy <= 1


def test_sgd_at_a_billion_diverges():
    optimizer = {"name": "sgd", "base": {"lr": 1e9}}
    with pytest.raises(Diverged, match=r"loss is (nan|inf) in epoch 1"):
        trainer_of("baseline", optimizer=optimizer).epoch()


@pytest.mark.parametrize("schedule", ["cosine", "poly", "constant"])
def test_learning_rate_is_a_function_of_progress(schedule):
    trainer = trainer_of(optimizer={**OPTIMIZER, "schedule": schedule})
    for epoch in range(2):
        last_step = (epoch + 3 / 4) / 2  # 256 images in batches of 64, two epochs
        factor = learning_rate_factor(schedule, last_step, Shape())
        assert trainer.epoch().learning_rate == pytest.approx(2e-3 * factor)
        rates = {group["group"]: group["lr"] for group in trainer.optimizer.param_groups}
        assert rates == pytest.approx({"base": 2e-3 * factor, "dz": 2e-2 * factor, "bit": 2e-2 * factor})


def test_progress_is_epochs_done_of_all():
    trainer = trainer_of(epochs=4)
    assert trainer.progress == 0.0
    trainer.train_epoch()
    assert trainer.progress == 0.25


@pytest.mark.parametrize(("images", "seen"), [(100, 100), (64, 64), (None, 1197), (10**6, 1197)])
def test_an_epoch_sees_as_many_images_as_were_asked_for(images, seen):
    trainer = trainer_of("baseline", images=images)
    outputs = []
    record_outputs(trainer.model, outputs)
    trainer.train_epoch()
    assert trainer.images == seen
    assert sum(len(output) for output in outputs) == seen


def test_epochs_see_different_images():
    trainer, outputs = trainer_of("baseline", images=64, optimizer={"base": {"lr": 0.0}}), []
    record_outputs(trainer.model, outputs)
    trainer.train_epoch()
    trainer.train_epoch()
    assert not torch.equal(outputs[0], outputs[1])


def test_an_epoch_does_not_depend_on_the_global_generator():
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(trainer_of(start=False).train_epoch())
    assert losses[0] == losses[1]


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trainer_of(start=False).build()
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_give_different_trials():
    assert trainer_of(start=False, seed=1).train_epoch() != trainer_of(start=False, seed=2).train_epoch()


def test_bf16_trains_and_keeps_quantizers_in_float32():
    trainer = trainer_of(precision="bf16")
    layers, levels = [], []
    record_outputs(trainer.model.linear, layers)
    quantizers = [m for m in trainer.model.modules() if isinstance(m, DeadzoneQuantizer)]
    for quantizer in quantizers:
        record_outputs(quantizer, levels)
    loss = trainer.train_epoch()
    assert math.isfinite(loss)
    assert len(quantizers) == 3
    assert {output.dtype for output in layers} == {torch.bfloat16}
    assert {output.dtype for output in levels} == {torch.float32}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert trainer.measure().accuracy > 0.5


def test_float32_is_the_default():
    trainer, outputs = trainer_of(), []
    record_outputs(trainer.model.linear, outputs)
    trainer.train_epoch()
    assert {output.dtype for output in outputs} == {torch.float32}


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_plain_one(monkeypatch):
    """Through the compiler's tracing but not its code generator, which needs a C++ compiler."""
    called, compile_with = [], torch.compile

    def eager(model):
        called.append(model)
        return compile_with(model, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    compiled = trainer_of(compile=True, images=128)
    assert called == [compiled.model]
    plain = trainer_of(images=128)
    assert compiled.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-5)
    assert compiled.measure().size == plain.measure().size


def test_step_seconds_is_the_time_of_a_step_and_takes_it():
    trainer = trainer_of()
    before = next(trainer.model.parameters()).detach().clone()
    assert 0 < trainer.step_seconds() < 10
    assert not torch.equal(next(trainer.model.parameters()), before)


def test_step_seconds_of_a_single_batch():
    assert trainer_of(images=10).step_seconds() > 0


def test_gradients_of_a_step_are_gone_before_the_next():
    trainer = trainer_of("baseline", optimizer={"name": "sgd", "base": {"lr": 0.0}})
    batch = next(iter(trainer._batches(0)))
    gradients = []
    for _ in range(2):
        trainer.step(*batch, 0.0)
        gradients.append(trainer.model.linear.weight.grad.clone())
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_penalties_are_added_to_the_loss():
    penalty = {"name": "group_lasso", "lambda_linear": 1.0, "lambda_conv": 1.0}
    assert trainer_of(penalties=(penalty,)).train_epoch() > trainer_of().train_epoch() + 1


def distilling(**changes):
    return trainer_of(**{"penalties": DISTILL, "dense": tiny_dense, **changes})


def test_distillation_is_added_to_the_loss_of_a_step():
    trainer = distilling(method="baseline", start=False, optimizer={"name": "sgd", "base": {"lr": 0.0}})
    plain = trainer_of("baseline", start=False, optimizer={"name": "sgd", "base": {"lr": 0.0}})
    inputs, labels = next(iter(trainer._batches(0)))
    with torch.no_grad():
        student, dense = (x.softmax(1) for x in (plain.model(inputs) / 3, tiny_dense()(inputs) / 3))
        wanted = 2.0 * 9 * (dense * (dense / student).log()).sum() / len(labels)
    losses = [float(t.step(inputs, labels, 0.0)) for t in (trainer, plain)]
    assert losses[0] - losses[1] == pytest.approx(float(wanted), rel=1e-3)
    assert wanted > 0.1


def test_the_dense_network_is_never_trained_and_no_part_of_the_trial():
    dense = tiny_dense()
    trainer, plain = distilling(dense=lambda: dense), trainer_of()
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    trainer.epoch()
    plain.epoch()
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    assert not any(module.training for module in dense.modules())
    assert all(p.grad is None and not p.requires_grad for p in dense.parameters())
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not optimised & {id(p) for p in dense.parameters()}
    assert {n: v.shape for n, v in trainer.state()["model"].items()} == {
        n: v.shape for n, v in plain.state()["model"].items()
    }
    assert set(trainer.state()) == set(plain.state())
    names = [[t.name for t in t_.shipped.artifact.tensors] for t_ in (trainer, plain)]
    assert names[0] == names[1]
    assert trainer.shipped.artifact.card == plain.shipped.artifact.card


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_distilling_trial_that_is_resumed_goes_on_as_if_it_had_never_stopped(tmp_path, precision):
    whole = distilling(precision=precision)
    whole.epoch()
    torch.save(whole.state(), tmp_path / "trial.pt")
    straight = whole.epoch()
    resumed = distilling(precision=precision)
    resumed.restore(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert resumed.epoch().loss == straight.loss
    assert resumed.shipped.data == whole.shipped.data


def test_a_student_follows_the_dense_network_where_it_outweighs_the_labels():
    """The dense network here calls every digit by the next one's name."""

    def mistaken():
        dense = tiny_dense()
        dense.linear.weight.data, dense.linear.bias.data = dense.linear.weight.roll(1, 0), dense.linear.bias.roll(1, 0)
        return dense

    penalties = ({"name": "distill", "lambda": 20.0, "temperature": 2.0},)
    trainer = distilling(method="baseline", start=False, dense=mistaken, penalties=penalties, images=None)
    trainer.train_epoch()
    trainer.train_epoch()
    validation = trainer.validation
    with torch.no_grad():
        answers = trainer.model.eval()(validation.normalise(validation.images)).argmax(1)
    assert (answers == (validation.labels + 1) % 10).float().mean() > 0.6
    assert (answers == validation.labels).float().mean() < 0.2


def never():
    raise AssertionError("nobody asked for the dense network")


def test_without_strength_the_dense_network_is_not_even_made():
    penalties = ({"name": "distill", "lambda": 0.0}, {"name": "group_lasso"})
    trainer = trainer_of(penalties=penalties, dense=never)
    same = trainer_of(penalties=penalties[1:], dense=never)
    assert trainer.train_epoch() == same.train_epoch()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, same.model.state_dict()[name]), name


def test_distillation_without_a_dense_network_is_refused_in_one_line():
    with pytest.raises(
        KnobError, match=r"^penalties: distill needs the trained dense network, and this trial has none$"
    ):
        trainer_of(start=False, penalties=DISTILL)


def test_the_dense_network_answers_in_the_precision_of_the_trial():
    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        dense, answers = tiny_dense(), []
        record_outputs(dense, answers)
        assert math.isfinite(distilling(dense=lambda d=dense: d, precision=precision, images=128).train_epoch())
        assert [a.dtype for a in answers] == [dtype, dtype]


HINT = ({"name": "hint", "lambda": 1.0, "layers": ["bn1", "conv2"]},)


def hinted(**changes):
    return trainer_of(**{"penalties": HINT, "dense": tiny_dense, **changes})


def test_hints_are_added_to_the_loss_of_a_step():
    still = {"name": "sgd", "base": {"lr": 0.0}}
    trainer = hinted(method="baseline", start=False, optimizer=still)
    plain = trainer_of("baseline", start=False, optimizer=still)
    inputs, labels = next(iter(trainer._batches(0)))
    dense, wanted, maps = tiny_dense(), 0.0, []
    for name in ("bn1", "conv2"):
        for network in (plain.model, dense):
            record_outputs(network.get_submodule(name), maps)
    losses = [float(t.step(inputs, labels, 0.0)) for t in (trainer, plain)]
    dense(inputs)
    for ours, theirs in zip(maps[:2], maps[2:], strict=True):
        wanted += float((ours - theirs).square().sum() / theirs.square().sum())
    assert losses[0] - losses[1] == pytest.approx(wanted, rel=1e-3)
    assert wanted > 0.1


def test_two_hints_may_have_strengths_of_their_own():
    apart = tuple({"name": "hint", "lambda": 1.0, "layers": [name]} for name in ("bn1", "conv2"))
    assert hinted(penalties=apart).train_epoch() == pytest.approx(hinted().train_epoch(), rel=1e-5)


@pytest.mark.parametrize("method", ["deadzone", "codebook"])
def test_hints_are_no_part_of_the_trial_and_leave_nothing_behind(method):
    knobs = {"codebooks": [{"layer": "bn1"}, {"layer": "conv2"}]} if method == "codebook" else {}
    dense = tiny_dense()
    trainer, plain = hinted(method=method, knobs=knobs, dense=lambda: dense), trainer_of(method, knobs=knobs)
    assert trainer.train_epoch() > plain.train_epoch()
    assert trainer._maps == [{}, {}]
    assert set(trainer.state()) == set(plain.state())
    assert trainer.state()["model"].keys() == plain.state()["model"].keys()
    assert all(p.grad is None for p in dense.parameters())
    trainer.measure()
    assert trainer._maps == [{}, {}]


def test_trials_that_have_ended_no_longer_watch_the_dense_network():
    dense = tiny_dense()
    for _ in range(3):
        hinted(dense=lambda: dense, images=64).train_epoch()
        gc.collect()
    assert not dense.bn1._forward_hooks


@pytest.mark.parametrize("method", ["deadzone", "codebook"])
def test_a_hinted_trial_that_is_resumed_goes_on_as_if_it_had_never_stopped(tmp_path, method):
    knobs = {"codebooks": [{"layer": "bn1"}]} if method == "codebook" else {}
    whole, resumed = (hinted(method=method, knobs=knobs) for _ in range(2))
    whole.train_epoch()
    torch.save(whole.state(), tmp_path / "trial.pt")
    resumed.restore(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert whole.train_epoch() == resumed.train_epoch()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_hints_bring_a_layer_nearer_to_the_dense_network():
    distances = []
    dense, theirs = tiny_dense(), []
    record_outputs(dense.conv2, theirs)
    for penalties in ((), ({**HINT[0], "lambda": 10.0},)):
        trainer, ours = hinted(method="baseline", start=False, penalties=penalties, images=None), []
        inputs, _ = next(iter(trainer._batches(0)))
        trainer.train_epoch()
        record_outputs(trainer.model.conv2, ours)
        trainer.model(inputs)
        dense(inputs)
        distances.append(float((ours[-1] - theirs[-1]).norm() / theirs[-1].norm()))
    assert distances[1] < 0.7 * distances[0]


def test_a_layer_to_follow_that_is_not_there_is_refused_at_once():
    penalties = ({**HINT[0], "layers": ["bn1", "conv3"]},)
    words = r"^hint\.layers\.1 = 'conv3': the network has no such layer; did you mean conv"
    with pytest.raises(KnobError, match=words):
        hinted(penalties=penalties)
    with pytest.raises(KnobError, match=r"^penalties: hint needs the trained dense network, and this trial has none$"):
        hinted(dense=None)


def test_dense_macs_are_those_of_the_dense_network_whatever_was_measured_first():
    trainer = trainer_of()
    shrunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert trainer._count(shrunk).total == 640
    assert trainer.dense_macs.total == count_macs(trainer.build(), (1, 8, 8)).total > 640


def test_networks_of_the_same_shapes_in_other_layers_are_counted_apart():
    trainer = trainer_of()
    one, other = (nn.Sequential(nn.Flatten(), nn.Sequential()) for _ in range(2))
    one.append(nn.Linear(64, 10))
    other[1].append(nn.Linear(64, 10))
    assert (dict(trainer._count(one).layers), dict(trainer._count(other).layers)) == ({"2": 640}, {"1.0": 640})


def test_metrics_of_the_shipped_network_agree_with_each_other():
    trainer = tiny_trainer("deadzone")
    metrics = trainer.epoch()
    assert metrics.epoch == trainer.epochs_done == 1
    macs = count_macs(trainer.shipped.network, (1, 8, 8))
    assert (metrics.macs, metrics.gops, metrics.training_gops) == (macs.total, macs.gops, macs.training_gops)
    assert metrics.parameters == sum(p.numel() for p in trainer.shipped.network.parameters()) == trainer.weights
    assert 2 < metrics.training_gops / metrics.gops < 3
    assert metrics.rel_bops <= metrics.rel_bops_dense <= 1
    assert metrics.images_per_second > 0
    assert metrics.seconds > 0
    assert trainer.shipped.artifact.card["original_weights"] == trainer.weights


def test_the_card_names_method_network_and_data():
    card = tiny_trainer("uniform").ship().artifact.card
    assert card["method"] == "uniform"
    assert card["network"] == {"name": "tests.tiny:small_net", "kwargs": {}}
    assert (card["data"], card["split"], card["input_shape"]) == ("digits", "holdout-300", [1, 8, 8])


@pytest.mark.parametrize("method", ["baseline", "uniform", "deadzone"])
def test_channels_that_are_zero_have_left(method):
    trainer = tiny_trainer(method)
    whole = trainer.measure()
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if name.startswith("conv2.") and parameter.dim():
                parameter[:5] = -1.0 if parameter.dim() == 1 else 0.0
    less = trainer.measure()
    assert less.parameters == whole.parameters - 5 * (8 * 9 + 1) - 5 * 16 * 10
    assert less.macs == whole.macs - 5 * 16 * (8 * 9 + 10)
    assert less.size < whole.size
    assert less.training_gops < whole.training_gops
    network = load_into(trainer.build(), decode(trainer.shipped.data))
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(network(images), trainer.shipped.network(images))
    assert {n: v.shape for n, v in network.state_dict().items() if "tracked" not in n} == {
        n: v.shape for n, v in trainer.shipped.artifact.state_dict().items()
    }
