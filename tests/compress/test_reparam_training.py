"""Gradients, bits, moving averages and state of what ``compress.reparam`` decodes."""

import copy
import math

import pytest
import torch
from torch import nn

from compress.entropy import PRIORS
from compress.reparam import AffineDecoder, entropy_bits, latents, reparametrise
from tests.compress.decoded import pictures, small_linear, small_network, train, unit_of

STEP = math.exp(-4)
TRANSFORMS = pytest.mark.parametrize("transform", ["identity", "dct", "dft"])


# gradients


@pytest.mark.parametrize("transform", ["identity", "dct", "dft"])
def test_gradients_reach_latents_steps_and_priors(transform):
    network = small_network(transform=transform)
    images, labels = pictures()
    nn.functional.cross_entropy(network(images), labels).backward()
    trained = {name: p.grad for name, p in network.named_parameters()}
    for name, gradient in trained.items():
        assert (gradient is None) == (".prior." in name), name
        assert gradient is None or gradient.abs().sum() > 0, name
    network.zero_grad()
    entropy_bits(network).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name == "0.bias"), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_rounding_has_the_gradient_of_the_identity():
    layer = small_linear()
    upstream = torch.randn(5, 7)
    layer.weight.backward(upstream)
    unit, latent = unit_of(layer)
    assert torch.allclose(latent.grad, upstream)
    rounding = layer.weight.detach() - latent.detach()  # d(s round(φ/s)) / d log s
    assert unit.decoder.log_step.grad.item() == pytest.approx(float((upstream * rounding).sum()), rel=1e-3)


# bits


def test_bits_are_a_sum_over_tensors_and_a_tied_one_counts_once():
    network = small_network()
    parts = [float(unit.bits(latent, noise=False).detach()) for _, unit, latent in latents(network)]
    assert len(parts) == 3
    assert float(entropy_bits(network, noise=False).detach()) == pytest.approx(sum(parts), rel=1e-6)
    layer = small_linear()
    tied = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(list(latents(tied))) == 4
    assert torch.equal(entropy_bits(tied, noise=False), entropy_bits(layer, noise=False))


def test_a_network_without_decoded_tensors_has_no_bits():
    assert float(entropy_bits(nn.Linear(3, 2))) == 0


def test_bits_of_what_is_shipped_have_no_noise():
    network = small_network()
    assert torch.equal(entropy_bits(network, noise=False), entropy_bits(network, noise=False))
    assert not torch.equal(entropy_bits(network), entropy_bits(network))


def test_the_prior_begins_with_what_the_integers_look_like():
    torch.manual_seed(0)
    layer = nn.Linear(50, 40)
    nn.init.normal_(layer.weight, std=1.0)
    reparametrise(layer, "weight", AffineDecoder())
    unit, latent = unit_of(layer)
    first = float(unit.bits(latent, noise=False).detach())
    fitted = PRIORS["logistic"]((40, 50), 1)
    fitted.fit(unit.decoder.index(latent))
    best = float(fitted(unit.decoder.index(latent).round()).detach())
    assert first == pytest.approx(best, rel=0.02)


def test_a_few_steps_with_bits_in_the_loss_lower_them():
    weights = 36 + 4 + 192 + 3
    cheap, dear = small_network(), small_network()
    before = float(entropy_bits(dear, noise=False).detach())
    train(cheap, 0.02 / weights)
    train(dear, 0.6 / weights)
    after = float(entropy_bits(dear, noise=False).detach())
    assert after < 0.8 * before
    assert after < 0.8 * float(entropy_bits(cheap, noise=False).detach())
    images, labels = pictures(seed=1)
    assert float((dear.eval()(images).argmax(1) == labels).float().mean()) > 0.8


# moving averages


def test_the_average_moves_by_its_formula_in_training_alone():
    layer = small_linear(ema_decay=0.9)
    unit, latent = unit_of(layer)
    expected = latent.detach().clone()
    assert torch.equal(unit.ema, expected)
    x = torch.zeros(1, 7)
    for number in range(4):
        with torch.no_grad():
            latent.add_(0.1 * (number + 1))
        layer.train()(x)
        expected = 0.9 * expected + 0.1 * latent.detach()
        assert torch.allclose(unit.ema, expected, atol=1e-6)
        layer.eval()(x)
        with torch.no_grad():
            layer.train()(x)
        assert torch.allclose(unit.ema, expected, atol=1e-6)


def test_evaluation_and_file_take_the_average_and_training_the_latent():
    layer = small_linear(ema_decay=0.5)
    unit, latent = unit_of(layer)
    average = unit.ema.clone()
    with torch.no_grad():
        latent.add_(1.0)
        kept = (average / STEP).round() * STEP
        assert torch.allclose(layer.eval().weight, kept, atol=1e-6)
        assert torch.allclose(layer.train().weight, ((average + 1) / STEP).round() * STEP, atol=1e-5)
    assert unit.symbols("weight", latent).weights() == pytest.approx(kept.numpy(), abs=1e-6)
    assert not torch.equal(unit.bits(average, noise=False), unit.bits(latent, noise=True))


def test_the_average_takes_nothing_from_the_gradient():
    """The original's gradient shrank with 1 - d."""
    gradients = []
    for decay in (0.0, 0.999):
        layer = small_linear(ema_decay=decay)
        layer(torch.ones(1, 7)).sum().backward()
        gradients.append(unit_of(layer)[1].grad)
    assert torch.equal(*gradients)


def test_without_decay_there_is_no_average():
    layer = small_linear(ema_decay=0.0)
    assert unit_of(layer)[0].ema is None
    assert [name for name in layer.state_dict() if "ema" in name] == []
    assert [n for n in small_linear(ema_decay=0.9).state_dict() if "ema" in n]


def test_the_average_is_no_parameter():
    assert [name for name, _ in small_linear(ema_decay=0.9).named_parameters() if "ema" in name] == []


# state


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@TRANSFORMS
def test_a_saved_network_gives_the_same_outputs(ema_decay, transform, tmp_path):
    network = small_network(ema_decay, transform)
    train(network, 1e-3, steps=5)
    torch.save(network.state_dict(), tmp_path / "network.pt")
    other = small_network(ema_decay, transform, seed=7)
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    x = torch.randn(5, 1, 4, 4)
    for mode in (True, False):
        assert torch.equal(network.train(mode)(x), other.train(mode)(x))
    assert torch.equal(entropy_bits(network, noise=False), entropy_bits(other, noise=False))


def test_a_copy_is_a_network_of_its_own():
    network = small_network(0.9)
    twin = copy.deepcopy(network)
    train(twin, 1e-3, steps=3)
    assert not torch.equal(twin[3].weight, network[3].weight)
    assert torch.equal(network[3].weight, small_network(0.9)[3].weight)


def test_a_network_goes_to_another_precision():
    network = small_network(0.9).double().eval()
    assert network(torch.zeros(1, 1, 4, 4, dtype=torch.float64)).dtype == torch.float64
    small_network()(torch.zeros(1, 1, 4, 4))  # and others keep theirs
