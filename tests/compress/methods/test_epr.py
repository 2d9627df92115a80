import copy
import math
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from compress.artifact import decode
from compress.entropy import PRIORS
from compress.method import KnobError
from compress.methods.epr import Epr
from compress.metrics import original_weights
from compress.reparam import latents
from tests.tiny import OPTIMIZER, tiny_start, tiny_task, tiny_trainer
from trainables.trainer import Recipe, Trainer

KERNELS = ("affine", "identity", "dct", "dft")


def _prepared(build, no_batches, **knobs):
    torch.manual_seed(0)
    model, method = build(), Epr(**{"prior": "logistic", **knobs})
    method.prepare(model, no_batches)
    return model, method


def _deep():
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 4, 3, padding=1),
        conv2=nn.Conv2d(4, 4, 3, padding=1),
        flatten=nn.Flatten(),
        fc1=nn.Linear(64, 8),
        fc2=nn.Linear(8, 3),
    )
    return nn.Sequential(layers)


def _names(model):
    return [name for name, _, _ in latents(model)]


def _logistic_bits(x, scale):
    """Of every number, float64; x within reach of the scale."""
    high, low = (np.abs(x) + 0.5) / scale, (np.abs(x) - 0.5) / scale
    return -np.log2(1 / (1 + np.exp(-high)) - 1 / (1 + np.exp(-low)))


# the knobs


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("lambda_RD", (-0.1, float("inf"), float("nan")), "must be a finite number from 0"),
        ("warm_up", (-0.1, 1.1, float("nan")), "must lie in [0, 1], a share of the epochs"),
        ("ema_decay", (-0.1, 1.0, float("nan")), "must lie in [0, 1)"),
        ("init_log_step", (float("inf"), float("-inf"), float("nan")), "must be a finite number"),
        ("prior", ("gauss", ""), "must be one of logistic, grid, laplace, factorised, context"),
        ("kernels", ("fft", "DCT"), "must be one of affine, identity, dct, dft"),
        ("steps", ("row", "layer"), "must be one of tensor, channel"),
        ("share", ("all", "channel"), "must be one of tensor, layer, kind"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(name, values, rule):
    for value in values:
        with pytest.raises(KnobError) as caught:
            Epr(**{"prior": "logistic", name: value})
        assert str(caught.value) == f"{name} = {value!r}: {rule}"


@pytest.mark.parametrize("share", ["layer", "kind"])
@pytest.mark.parametrize("alone", [{"steps": "channel"}, {"prior": "grid"}, {"prior": "context"}])
def test_what_belongs_to_rows_is_not_shared(share, alone):
    rule = "must be tensor where steps = 'channel' or prior = 'grid' or 'context'"
    with pytest.raises(
        KnobError, match=f"^share = '{share}': {rule}: rows of different tensors have nothing in common$"
    ):
        Epr(**{"prior": "logistic", "share": share, **alone})
    assert Epr(**{"prior": "logistic", "share": "tensor", **alone}).share == "tensor"


def test_nothing_left_to_code_is_refused(build, no_batches):
    with pytest.raises(KnobError, match=r"^exclude_layers = \['conv', 'fc'\]: leaves no layer to code$"):
        _prepared(build, no_batches, exclude_layers=["conv", "fc"])


@pytest.mark.parametrize("log_step", [-6.0, -2.5])
def test_steps_begin_where_they_are_told(log_step, build, no_batches):
    model, method = _prepared(build, no_batches, init_log_step=log_step)
    for symbols in method.symbols(model):
        assert symbols.floats["step"] == pytest.approx(math.exp(log_step), rel=1e-6)


# which tensors, and what they have in common


def test_biases_are_coded_or_not(build, no_batches):
    model, _ = _prepared(build, no_batches)
    assert _names(model) == ["conv.weight", "fc.weight", "fc.bias"]
    model, _ = _prepared(build, no_batches, code_biases=False)
    assert _names(model) == ["conv.weight", "fc.weight"]
    assert isinstance(model.fc.bias, nn.Parameter)


def test_norms_and_excluded_layers_stay_as_they_are(build, no_batches):
    model, _ = _prepared(build, no_batches, exclude_layers=["fc"])
    assert _names(model) == ["conv.weight"]
    assert not parametrize.is_parametrized(model.bn)
    assert not parametrize.is_parametrized(model.fc)
    model, _ = _prepared(build, no_batches, exclude_types=["Conv2d"])
    assert _names(model) == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("share", "kernels", "units"),
    [
        ("tensor", "affine", 8),
        ("tensor", "dct", 8),
        ("layer", "affine", 4),
        ("layer", "dct", 6),  # a kernel's frequencies and its biases have no step in common
        ("kind", "affine", 3),  # kernels, matrices, biases
        ("kind", "dft", 3),
    ],
)
def test_decoders_and_priors_are_shared_as_told(share, kernels, units, no_batches):
    model, method = _prepared(_deep, no_batches, share=share, kernels=kernels)
    found = [unit for _, unit, _ in latents(model)]
    assert len(found) == 8
    assert len({id(unit.decoder) for unit in found}) == units
    assert len({id(unit.prior) for unit in found}) == units
    groups = method.parameter_groups(model)
    assert (len(groups["step"]), len(groups["prior"])) == (units, units)


def test_a_channel_has_its_own_step_and_a_frequency_too(no_batches):
    model, method = _prepared(_deep, no_batches, steps="channel", kernels="dct")
    steps = {s.name: (s.decoder, s.floats["step"].size) for s in method.symbols(model)}
    assert steps["conv2.weight"] == ("dct", 9)
    assert steps["fc1.weight"] == ("uniform", 8)
    assert steps["fc1.bias"] == ("uniform", 1)


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_every_trained_parameter_is_in_exactly_one_group(prior, no_batches):
    model, method = _prepared(_deep, no_batches, prior=prior)
    groups = method.parameter_groups(model)
    assert list(groups) == ["base", "step", "prior"]
    grouped = [id(p) for parameters in groups.values() for p in parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert len(groups["base"]) == len(groups["step"]) == 8
    assert sum(p.numel() for p in groups["base"]) == original_weights(_deep())


def test_what_a_network_calls_a_prior_is_no_prior_of_ours(no_batches):
    """Nor is its log_step."""

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.prior = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
            self.head = nn.Linear(3, 2)
            self.log_step = nn.Parameter(torch.zeros(()))

    model, method = _prepared(lambda: nn.Sequential(Named()), no_batches)
    sizes = {name: len(parameters) for name, parameters in method.parameter_groups(model).items()}
    assert sizes == {"base": 7, "step": 4, "prior": 4}


# the loss


def test_the_penalty_is_total_bits_over_total_weights(build, no_batches):
    """Computed anew in float64, with the same noise: a bias of three costs three numbers' bits, not a layer's."""
    model, method = _prepared(build, no_batches, lambda_RD=2.0, warm_up=0.0)
    method.on_epoch(model, 0.0, no_batches)
    weights = 36 + 8 + 192 + 3
    bits = {}
    torch.manual_seed(5)
    for name, unit, latent in latents(model):
        index = latent.detach().double() / math.exp(-4) + (torch.rand(latent.shape) - 0.5)
        bits[name] = float(_logistic_bits(index.numpy(), unit.prior.log_scale.exp().item()).sum())
    torch.manual_seed(5)
    penalty = float(method.penalty(model).detach())
    assert penalty == pytest.approx(2.0 * sum(bits.values()) / weights, rel=1e-4)
    assert bits["fc.bias"] < 0.1 * sum(bits.values())


@pytest.mark.parametrize("outputs", [3, 30])
def test_a_weight_costs_the_same_in_a_large_tensor_and_in_a_small_one(outputs, no_batches):
    """The gradient of a bit is lambda_RD / weights, wherever the bit is."""
    model, method = _prepared(lambda: nn.Linear(40, outputs), no_batches, warm_up=0.0)
    method.on_epoch(model, 0.0, no_batches)
    found = {name: (unit, latent) for name, unit, latent in latents(model)}
    with torch.no_grad():
        for unit, latent in found.values():
            unit.prior.log_scale.fill_(0.0)
            latent.fill_(1.0)  # far out, where the slope of bits is 1 / ln 2 an integer
    method.penalty(model).backward()
    slope = 3.0 / (41 * outputs) / math.log(2) / math.exp(-4)
    for _, latent in found.values():
        assert latent.grad.flatten().tolist() == pytest.approx([slope] * latent.numel(), rel=1e-3)


def test_no_strength_no_penalty(build, no_batches):
    model, method = _prepared(build, no_batches, lambda_RD=0.0, warm_up=0.0)
    method.on_epoch(model, 1.0, no_batches)
    assert float(method.penalty(model).detach()) == 0


@pytest.mark.parametrize(
    ("warm_up", "progress", "share"),
    [(0.4, 0.0, 0.0), (0.4, 0.2, 0.5), (0.4, 0.4, 1.0), (0.4, 0.9, 1.0), (1.0, 0.25, 0.25), (0.0, 0.0, 1.0)],
)
def test_the_strength_grows_over_the_warm_up_as_a_function_of_progress(warm_up, progress, share, build, no_batches):
    model, method = _prepared(build, no_batches, lambda_RD=5.0, warm_up=warm_up)
    assert float(model.nats_a_bit) == 0
    for before in (0.0, 1.0, 0.3):  # whatever went before
        method.on_step(model, before)
        method.on_epoch(model, progress, no_batches)
        assert float(model.nats_a_bit) * 239 == pytest.approx(5.0 * share, rel=1e-6)
        method.on_step(model, before)
        method.on_step(model, progress)
        assert float(model.nats_a_bit) * 239 == pytest.approx(5.0 * share, rel=1e-6)


def test_the_strength_is_state(build, no_batches):
    model, method = _prepared(build, no_batches)
    method.on_step(model, 0.05)
    other, _ = _prepared(build, no_batches)
    other.load_state_dict(model.state_dict())
    assert float(other.nats_a_bit) == float(model.nats_a_bit) > 0


# what is shipped


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize(
    "knobs",
    [
        *({"kernels": k} for k in KERNELS),
        {"steps": "channel"},
        {"prior": "logistic", "share": "kind"},
        {"prior": "context"},
        {"prior": "context", "kernels": "dct"},
    ],
)
def test_the_symbols_are_the_weights_of_evaluation(knobs, ema_decay):
    trainer = tiny_trainer("epr", ema_decay=ema_decay, **knobs)
    trainer.train_epoch()
    trainer.model.eval()
    symbols = trainer.method.symbols(trainer.model)
    assert sorted(s.name for s in symbols) == [
        "conv1.weight",
        "conv2.bias",
        "conv2.weight",
        "linear.bias",
        "linear.weight",
    ]
    for s in symbols:
        layer, _, tensor = s.name.rpartition(".")
        weight = getattr(trainer.model.get_submodule(layer), tensor).detach().numpy()
        assert np.abs(s.weights() - weight).max() <= 1e-6 * np.abs(weight).max()
        assert np.abs(weight).max() > 0


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_trial_with_the_context_prior_goes_on_as_if_it_had_never_stopped(ema_decay):
    whole, resumed = (tiny_trainer("epr", prior="context", ema_decay=ema_decay) for _ in range(2))
    whole.train_epoch()
    resumed.restore(copy.deepcopy(whole.state()))
    assert whole.train_epoch() == resumed.train_epoch()
    assert whole.ship().data == resumed.ship().data


@pytest.mark.slow
def test_a_larger_lambda_gives_a_smaller_file():
    sizes = []
    for strength in (0.1, 1.0, 5.0, 30.0):
        trainer = tiny_trainer("epr", epochs=3, lambda_RD=strength)
        for _ in range(3):
            trainer.train_epoch()
        sizes.append(trainer.ship().artifact.size)
    assert all(smaller < 0.97 * larger for larger, smaller in pairwise(sizes)), sizes
    assert sizes[-1] < 0.6 * sizes[0], sizes


def _encoded(trainer):
    """Bytes of the index maps that the method codes, without steps, header and what is stored beside them."""
    artifact, coded = decode(trainer.ship().data), set(_names(trainer.model))
    floats = {t.name: 4 * sum(np.size(v) for v in t.floats.values()) for t in artifact.tensors}
    return sum(s.size - floats[s.name] for s in artifact.sections if s.name in coded)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["context", "logistic", "laplace", "factorised"])
def test_the_estimate_is_near_the_encoded_bytes(prior):
    """Where priors have had time to settle and few weights are zero: a coder that learns from neighbours beats them else."""
    recipe = Recipe(
        method="epr",
        knobs={"lambda_RD": 0.1, "prior": prior},
        optimizer={**OPTIMIZER, "prior": {"lr": 2e-2}},
        epochs=20,
        seed=3,
    )
    trainer = Trainer(tiny_task(), recipe, tiny_start(), torch.device("cpu"))
    for _ in range(20):
        trainer.train_epoch()
    assert trainer.method.measures(trainer.model)["estimated_size"] == pytest.approx(_encoded(trainer), rel=0.05)
