import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.contexts import encode_map
from compress.neighbours import ContextPrior
from compress.reparam import AffineDecoder, Latent
from compress.scans import Scan, scans

SHAPES = [(7,), (1, 9), (20, 1), (6, 10), (40, 64), (8, 3, 1, 1), (12, 4, 3, 3), (2, 2, 3, 3), (16, 3, 5), (3, 256)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
quick = settings(max_examples=40, deadline=None)


def _moved(shape, channels=1, seed=0, size=0.4):
    """A prior as training might leave it, in float64."""
    random = np.random.default_rng(seed)
    prior = ContextPrior(shape, channels).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.from_numpy(size * random.standard_normal(parameter.shape)))
    return prior


def _sparse(shape, seed=0, density=0.3, size=2.0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.laplace(scale=size, size=shape) * (random.random(shape) < density))


def _bits(prior, x):
    with torch.no_grad():
        return float(prior(x))


def _living(shape, q):
    """Without rows and columns of zeros, but for a vector's and for columns of pixels."""
    if len(shape) < 2:
        return q[None, :, None] if q.any() else q[:0]
    q = q.reshape(*shape[:2], -1)
    q = q[q.any((1, 2))]
    return q if len(shape) == 2 and shape[1] in (16 * 16, 3 * 16 * 16) else q[:, q.any((0, 2))]


def _by_hand(prior, shape, x):
    """The formulas of the module's docstring, an integer at a time."""
    level, density, gain = (getattr(prior, n).detach().numpy() for n in ("level", "density", "gain"))
    near, tilt = np.logaddexp(0, prior.near.detach().numpy()), prior.tilt.detach().numpy()
    q = _living(shape, np.rint(x.numpy()))
    if not q.size:
        return 8.0
    offered = scans((*q.shape[:2], *shape[2:])) if len(shape) > 1 else [Scan(1, 0)]
    scan = offered[min(1, len(offered) - 1)]
    means = np.maximum(np.abs(q).reshape(-1, len(level)).mean(0), len(level) / q.size)
    own = np.resize(np.log(means) + level, q[0].size).reshape(-1, scan.phases)
    size = (np.abs(q).reshape(-1, len(level)) / means).reshape(len(q), -1, scan.phases)
    q = q.reshape(size.shape)
    back = [n for n in scan.back() if n < scan.phases]
    bits = 16.0 + 8 * min(int(np.abs(q).max()).bit_length(), 4)  # the head
    for r, g, p in np.ndindex(q.shape):
        odds = own[g, p]
        if scan.phases > 1:
            odds += density[0] * math.log((1 + size[r, :, :p].sum()) / (1 + q.shape[1] * p))
        if q.shape[1] > 1 and len(q) > 1:
            odds += density[1] * math.log((1 + size[:r, g].sum()) / (1 + scan.phases * r))
        seen = [(size[r, g, p - n], np.sign(q[r, g, p - n])) if n <= p else (0, 0) for n in back]
        odds += gain[0] * math.log1p(sum(w * s for w, (s, _) in zip(near, seen, strict=False)))
        k = 2 * math.log1p(2 * math.exp(-min(max(odds, -20), 12)))
        t = k * q[r, g, p] - sum(w * s for w, (_, s) in zip(tilt, seen, strict=False))
        nats = np.logaddexp(0, -t - k / 2) + np.logaddexp(0, t - k / 2) - math.log(-math.expm1(-k))
        bits += nats / math.log(2)
    return bits


# what integers cost


@every_shape
@pytest.mark.parametrize("seed", [0, 1])
def test_bits_are_those_of_the_formula(shape, seed):
    prior, x = _moved(shape, seed=seed), _sparse(shape, seed)
    assert _bits(prior, x) == pytest.approx(_by_hand(prior, shape, x), rel=1e-9)


@pytest.mark.parametrize("shape", [(12, 4, 3, 3), (2, 2, 3, 3)])
def test_a_frequency_has_a_level_of_its_own(shape):
    prior, x = _moved(shape, channels=9), _sparse(shape, density=0.8) * torch.arange(1.0, 10).reshape(3, 3)
    assert prior.level.shape == (9,)
    assert _bits(prior, x) == pytest.approx(_by_hand(prior, shape, x), rel=1e-9)


@quick
@given(seed=st.integers(0, 10_000), shape=st.sampled_from(SHAPES), size=st.sampled_from([0.1, 1.0, 30.0, 3000.0]))
def test_bits_are_finite_and_none_is_negative(seed, shape, size):
    prior, x = _moved(shape, seed=seed, size=2.0).float(), _sparse(shape, seed, size=size).float().requires_grad_()
    bits = prior(x)
    bits.backward()
    assert math.isfinite(float(bits.detach()))
    assert float(bits.detach()) >= 0
    assert all(t.grad.isfinite().all() for t in (x, *prior.parameters()) if t.grad is not None)


@every_shape
def test_a_tensor_of_zeros_has_bits_too(shape):
    prior, x = ContextPrior(shape), torch.zeros(shape, requires_grad=True)
    prior.fit(x)
    bits = prior(x)
    bits.backward()
    assert float(bits.detach()) == 8  # the byte that says so
    assert not x.grad.any()


def test_rows_and_columns_of_zeros_cost_nothing():
    """Their channels are not in the file."""
    dense = _sparse((32, 60), density=0.5)
    thin = torch.zeros(96, 120, dtype=torch.float64)
    thin[::3, ::2] = dense
    assert _bits(ContextPrior((96, 120)).double(), thin) == pytest.approx(_bits(ContextPrior((32, 60)).double(), dense))


def test_pixels_that_no_row_reads_stay_where_they_are():
    x = _sparse((8, 256), density=0.5)
    x[:, 64:128] = 0
    closer = torch.cat([x[:, :64], x[:, 128:]], 1)
    prior = ContextPrior((8, 256)).double()
    assert _bits(prior, x) > _bits(ContextPrior((8, 192)).double(), closer)


def test_only_what_is_rounded_counts_and_noise_is_not_asked_for():
    unit = Latent(AffineDecoder(log_step=-1.0), _moved((6, 10)).float())
    latent = torch.randn(6, 10)
    draws = [float(unit.bits(latent, noise).detach()) for noise in (True, True, False)]
    assert draws[0] == draws[1] == draws[2]


# what neighbours do


def _settled(x, steps=150):
    prior = ContextPrior(x.shape)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        prior(x).backward()
        optimizer.step()
    return prior


def _logistic(scale, seed=0):
    """Integers of a logistic, of the given scales."""
    share = np.random.default_rng(seed).uniform(1e-6, 1 - 1e-6, size=scale.shape)
    return torch.from_numpy(np.rint(scale * np.log(share / (1 - share))).astype(np.float32))


def _blocks(low, high, seed=0):
    """Pictures of 16 x 16 in which what is large lies together."""
    dense = np.kron(np.random.default_rng(seed).random((60, 4, 4)) < 0.15, np.ones((4, 4)))
    return _logistic(np.where(dense, high, low).reshape(60, 256), seed)


def test_integers_that_lie_together_are_cheaper_than_the_same_in_another_order():
    x = _blocks(0.08, 0.6)
    mixed = x[:, torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    assert _bits(_settled(x), x) < 0.9 * _bits(_settled(mixed), mixed)


def test_a_channel_that_is_dense_is_known_from_the_rows_above():
    x = _sparse((40, 10, 3, 3), density=1.0).float().round()
    x[:, ::2] = 0
    mixed = x.flatten(1)[:, torch.randperm(90, generator=torch.Generator().manual_seed(0))].reshape(x.shape)
    assert _bits(_settled(x), x) < 0.8 * _bits(_settled(mixed), mixed)


@pytest.mark.parametrize(("low", "high"), [(0.08, 0.5), (0.12, 0.12), (0.5, 2.0)])
def test_what_it_promises_is_near_what_the_coder_makes(low, high):
    x = _blocks(low, high)
    coded = 8 * len(encode_map(x.numpy().astype(np.int32)))
    assert _bits(_settled(x), x) == pytest.approx(coded, rel=0.08)


# gradients


@every_shape
def test_gradients_to_parameters_are_those_of_finite_differences(shape):
    prior, x = _moved(shape, seed=2), _sparse(shape, 4)
    used = [p for p in prior.parameters() if p.numel()]
    prior(x.requires_grad_()).backward()
    used = [p for p in used if p.grad is not None]
    assert torch.autograd.gradcheck(lambda *_: prior(x.detach()), tuple(used))


def test_the_gradient_to_a_latent_is_the_one_that_noise_has_on_average():
    """Where no neighbour is: a vector, in float64, by the difference of what is half an integer on."""
    prior, x = _moved((9,), seed=1), torch.linspace(-4, 4, 9, dtype=torch.float64) + 0.3
    x.requires_grad_()
    prior(x).backward()
    odds = x.detach().round().abs().mean().log() + prior.level.detach()
    k = 2 * torch.log1p(2 * torch.exp(-odds))

    def bits(y):
        return -torch.log2(torch.sigmoid(k * (y + 0.5)) - torch.sigmoid(k * (y - 0.5)))

    y = x.detach()
    assert torch.allclose(x.grad, bits(y + 0.5) - bits(y - 0.5), rtol=1e-9)


def test_a_row_of_zeros_is_held_harder_than_a_sparse_one():
    x = torch.zeros(20, 64)
    x[:10, ::8] = 1.0
    x[:, 3] = 0.3  # a column of zeros when rounded
    x[4, 3] = 1.0
    x.requires_grad_()
    ContextPrior((20, 64))(x).backward()
    assert float(x.grad[15, 3]) > float(x.grad[5, 3]) > 0
    assert float(x.grad[15, 20]) == 0


# state


def test_its_parameters_are_its_state():
    one, two = _moved((12, 4, 3, 3), 9), ContextPrior((12, 4, 3, 3), 9).double()
    two.load_state_dict(one.state_dict())
    x = _sparse((12, 4, 3, 3))
    assert _bits(one, x) == _bits(two, x)
    assert set(one.state_dict()) == {name for name, _ in one.named_parameters()}
