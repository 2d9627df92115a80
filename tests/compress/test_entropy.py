import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.entropy import (
    PRIORS,
    FactorisedPrior,
    GridPrior,
    LaplacePrior,
    LogisticPrior,
    _LogisticBits,
    with_noise,
)

quick = settings(max_examples=60, deadline=None)
log_scales = st.floats(-3.9, 4)
numbers = st.floats(-30, 30)
seeds = st.integers(0, 10_000)
every_prior = pytest.mark.parametrize("name", sorted(PRIORS))
by_number = pytest.mark.parametrize("name", sorted(set(PRIORS) - {"context"}))  # that one knows whole tensors
closed_forms = pytest.mark.parametrize(("kind", "name"), [(LogisticPrior, "logistic"), (LaplacePrior, "laplace")])


def _lower(name, z):
    """F at z <= 0, in float64: what is small keeps its digits there."""
    return np.exp(z) / (1 + np.exp(z)) if name == "logistic" else np.exp(z) / 2


def _formula(name, x, log_scale):
    """-log2(F(x + 1/2) - F(x - 1/2)) of one number, in the left tail by symmetry."""
    high, low = (0.5 - abs(x)) / math.exp(log_scale), (-0.5 - abs(x)) / math.exp(log_scale)
    upper = 1 - _lower(name, -high) if high > 0 else _lower(name, high)
    return -math.log2(max(upper - _lower(name, low), 1e-300))


def _moved(prior, seed):
    """A prior as training might leave it, in float64."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in prior.double().parameters():
            parameter.add_(torch.from_numpy(0.4 * random.standard_normal(parameter.shape)))
    return prior


def _with_scale(prior, log_scale):
    for parameter in prior.parameters():
        torch.nn.init.constant_(parameter, log_scale)
    return prior


def _draws(seed, shape, size):
    return torch.from_numpy((size * np.random.default_rng(seed).laplace(size=shape)).astype(np.float32))


# what integers cost


@by_number
@pytest.mark.parametrize("seed", [0, 1])
def test_the_chances_of_all_integers_are_one(name, seed):
    torch.manual_seed(seed)
    prior = _moved(PRIORS[name]((2, 1), 1), seed)
    if name == "grid":  # both rows alike, so that half the bits are those of one
        _with_scale(prior, float(prior.log_scales[0].detach()[0]))
    with torch.no_grad():
        bits = [float(prior(torch.full((2, 1), float(k), dtype=torch.float64))) / 2 for k in range(-250, 251)]
    assert sum(2**-b for b in bits) == pytest.approx(1, abs=1e-4)


@closed_forms
@quick
@given(x=numbers, log_scale=log_scales)
def test_bits_are_those_of_the_formula(kind, name, x, log_scale):
    prior = _with_scale(kind().double(), log_scale)
    bits = float(prior(torch.tensor([x], dtype=torch.float64)).detach())
    expected = _formula(name, x, log_scale)
    if expected < 90:  # an integer's chance is at least 1e-30
        assert bits == pytest.approx(expected, rel=1e-5, abs=1e-9)


@closed_forms
@pytest.mark.parametrize("k", [0, 1, -1, 2, -7, 30])
@pytest.mark.parametrize("log_scale", [-2.0, 0.0, 1.5, 4.0])
def test_float32_gives_the_bits_of_an_integer_to_a_thousandth(kind, name, k, log_scale):
    expected = _formula(name, k, log_scale)
    if expected < 90:
        bits = float(_with_scale(kind(), log_scale)(torch.tensor([float(k)])).detach())
        assert bits == pytest.approx(expected, rel=1e-3, abs=1e-3)


@closed_forms
def test_a_channel_has_a_scale_of_its_own(kind, name):
    prior = kind(4).double()
    with torch.no_grad():
        prior.log_scale.copy_(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    x = torch.from_numpy(np.rint(np.random.default_rng(0).laplace(scale=2, size=(3, 2, 2, 2))))
    expected = sum(
        _formula(name, float(kernel.flatten()[tap]), float(tap) - 1) for kernel in x.flatten(0, 1) for tap in range(4)
    )
    assert float(prior(x).detach()) == pytest.approx(expected)


def test_the_scale_of_a_grid_is_the_product_of_its_axes():
    prior = _moved(GridPrior((3, 2, 2, 1)), 0)
    assert [tuple(p.shape) for p in prior.log_scales] == [(3, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1)]
    x = torch.from_numpy(np.rint(np.random.default_rng(1).laplace(scale=2, size=(3, 2, 2, 1))))
    rows, columns, taps = (p.detach().flatten().tolist() for p in prior.log_scales)
    expected = sum(
        _formula("logistic", float(x[r, c, t, 0]), rows[r] + columns[c] + taps[t])
        for r in range(3)
        for c in range(2)
        for t in range(2)
    )
    assert float(prior(x).detach()) == pytest.approx(expected)


def test_a_vector_has_no_rows_and_columns():
    assert isinstance(PRIORS["grid"]((5,), 1), LogisticPrior)
    assert isinstance(PRIORS["grid"]((5, 2), 1), GridPrior)


def test_a_row_that_thins_out_gets_cheaper_zeros_and_dearer_weights():
    prior = GridPrior((2, 50))
    x = torch.zeros(2, 50)
    x[1] = _draws(0, 50, 4.0)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        prior(with_noise(x)).backward()
        optimizer.step()
    none, thin, dense = (torch.zeros(2, 50) for _ in range(3))
    thin[0, 0] = dense[1, 0] = 3.0
    with torch.no_grad():
        base = float(prior(none))
        assert float(prior(thin)) - base > float(prior(dense)) - base + 5


# gradients


@by_number
@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (4, 3)])
def test_gradients_are_those_of_finite_differences(name, shape):
    torch.manual_seed(0)
    channels = 4 if len(shape) == 4 and name != "grid" else 1
    prior = _moved(PRIORS[name](shape, channels), 3)
    x = _draws(5, shape, 2.0).double().requires_grad_()
    parameters = list(prior.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: prior(x), (x, *parameters))


@quick
@given(seed=seeds, sharp=st.sampled_from([(1,), (4,), (3, 1), (3, 4)]))
def test_the_closed_form_serves_sharpness_of_any_shape(seed, sharp):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.laplace(scale=2, size=(3, 4))).requires_grad_()
    sharpness = torch.from_numpy(random.uniform(0.2, 3, size=sharp)).requires_grad_()
    assert torch.autograd.gradcheck(_LogisticBits.apply, (x, sharpness))


@every_prior
@pytest.mark.parametrize("x", [1e4, -1e4, 100.0, 0.0, 0.5])
@pytest.mark.parametrize("log_scale", [-20.0, -4.0, -1.0, 0.0, 2.0, 4.0])
def test_the_tails_are_finite(name, x, log_scale):
    torch.manual_seed(0)
    prior = PRIORS[name]((2, 1), 1)
    if name != "factorised":
        _with_scale(prior, log_scale)
    index = torch.full((2, 1), x, requires_grad=True)
    bits = prior(index)
    bits.backward()
    assert math.isfinite(float(bits.detach()))
    assert float(bits.detach()) >= 0
    for tensor in (index, *prior.parameters()):
        unused = name == "context" and tensor.grad is None  # two rows of one column have no neighbours
        assert unused or tensor.grad.isfinite().all()
    if name != "factorised" and abs(x) >= 100:  # that one has a floor of 1e-9, where nothing is learnt
        assert (index.grad.sign() == math.copysign(1, x)).all()


def test_in_the_tail_a_logistic_pulls_by_its_sharpness():
    """Where float32 has no chance left to take a logarithm of."""
    x = torch.tensor([1e4], requires_grad=True)
    _with_scale(LogisticPrior(), 1.0)(x).backward()
    assert float(x.grad) == pytest.approx(math.exp(-1) / math.log(2), rel=1e-5)


# where they begin


@pytest.mark.parametrize("kind", [LogisticPrior, LaplacePrior, lambda: GridPrior((400, 20))])
@pytest.mark.parametrize("size", [0.5, 1.0, 4.0, 25.0])
def test_the_first_scale_is_near_the_best_of_laplacian_draws(kind, size):
    x = _draws(0, (400, 20), size)
    prior = kind()
    prior.fit(x)
    torch.manual_seed(0)
    noisy = with_noise(x)
    with torch.no_grad():
        first = float(prior(noisy))
        start = prior.log_scales[0] if isinstance(prior, GridPrior) else prior.log_scale
        middle = float(start.flatten()[0])
        best = min(float(_with_one_scale(prior, middle + shift)(noisy)) for shift in np.linspace(-2, 2, 81))
    assert best <= first <= 1.02 * best


def _with_one_scale(prior, log_scale):
    for number, parameter in enumerate(prior.parameters()):
        parameter.fill_(log_scale if number == 0 else 0.0)
    return prior


@closed_forms
def test_each_channel_begins_with_its_own_scale(kind, name):
    x = _draws(0, (60, 50, 1, 3), 1.0) * torch.tensor([1.0, 4.0, 16.0])
    prior = kind(3)
    prior.fit(x)
    assert np.diff(prior.log_scale.detach().numpy()) == pytest.approx(math.log(4), abs=0.1)


@pytest.mark.parametrize("kind", [LogisticPrior, LaplacePrior, lambda: GridPrior((3, 4)), FactorisedPrior])
def test_a_tensor_of_zeros_has_a_beginning_too(kind):
    prior, x = kind(), torch.zeros(3, 4, requires_grad=True)
    prior.fit(x)
    bits = prior(x)
    bits.backward()
    assert math.isfinite(float(bits.detach()))
    assert all(p.grad.isfinite().all() for p in prior.parameters())


# noise


def test_noise_is_uniform_over_one_unit():
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 200_000)
    noise = with_noise(x) - x
    assert float(noise.mean()) == pytest.approx(0, abs=3e-3)
    assert float(noise.var()) == pytest.approx(1 / 12, rel=1e-2)
    assert float(noise.abs().max()) <= 0.5 + 1e-6


def test_noise_depends_on_torchs_seed_alone():
    x = torch.zeros(50)
    draws = []
    for numpys, torchs in ((0, 1), (5, 1), (0, 2)):
        np.random.default_rng(numpys).random()
        torch.manual_seed(torchs)
        draws.append(with_noise(x))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_noise_has_the_gradient_of_the_identity():
    x = torch.zeros(5, requires_grad=True)
    with_noise(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(5))
