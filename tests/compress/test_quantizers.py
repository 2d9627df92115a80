import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.quantizers import QUANTIZERS, DeadzoneQuantizer, Quantizer, UniformQuantizer, absolute_scale
from compress.surrogates import deadzone_through

EPS = 1e-8
quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 10_000)
logits = st.one_of(st.floats(0.1, 3.0), st.floats(-3.0, -0.1))
shapes = st.sampled_from([(40,), (7, 30), (6, 4, 3, 3), (1, 50)])
# theta_bit whose bit width, out of 2..8, is no rounding tie
bit_logits = logits.filter(lambda t: abs(6 * abs(np.tanh(t)) % 1 - 0.5) > 1e-3)


def _weights(seed, shape, size=1.0):
    return (size * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _scale(per_channel=False, statistic="quantile", quantile=0.99):
    return {"statistic": statistic, "quantile": quantile, "per_channel": per_channel}


def _deadzone(dz=1.0, bit=1.0, learn=(True, True), bits=4, **scale):
    return DeadzoneQuantizer(bits=bits, max_bits=8, logit_dz=dz, logit_bit=bit, learn=learn, scale=_scale(**scale))


def _r(w, per_channel=False, statistic="quantile", quantile=0.99):
    """R in numpy: of the whole tensor, or a column of one an output channel."""
    magnitude = np.abs(w.astype(np.float64)).reshape(len(w) if per_channel else 1, -1)
    r = magnitude.max(1) if statistic == "max" else np.quantile(magnitude, quantile, axis=1, method="linear")
    return r.reshape(-1, *[1] * (w.ndim - 1)) if per_channel else r[0]


def _bit_width(theta):
    return int(np.rint(6 * abs(np.tanh(theta)) + 2))


def _formula(w, r, theta, bits):
    """(q, u, s, δ, d) of section 2.2, float64."""
    largest = 2 ** (bits - 1) - 1
    d = 2 * r * (1 - abs(np.tanh(theta)))
    s = (r - d / 2) / (largest - 0.5) + EPS
    delta = (d - s) / 2
    u = np.sign(w) * np.maximum(np.abs(w) - delta, 0)
    return np.clip(np.rint(u / s), -largest, largest), u, s, delta, d


def _gradients(q, w, upstream, r, theta_dz, theta_bit, bits):
    """dL/dw, and the terms of dL/dθ_dz and dL/dθ_bit (one a weight), by the explicit formulas for the integers q."""
    _, u, s, _, d = _formula(w, r, theta_dz, bits)
    explicit_s, explicit_delta = q - u / s, np.sign(q) - np.sign(w)
    largest = 2 ** (bits - 1) - 1
    s_by_d = -1 / (2 * largest - 1)
    hard_by_d = explicit_s * s_by_d + explicit_delta * (1 - s_by_d) / 2
    hard_by_largest = (explicit_s - explicit_delta / 2) * -(r - d / 2) / (largest - 0.5) ** 2
    d_by_theta = -2 * r / np.cosh(theta_dz) ** 2 * np.sign(theta_dz)
    largest_by_theta = np.log(2) * 2 ** (bits - 1) * 6 / np.cosh(theta_bit) ** 2 * np.sign(theta_bit)
    dz, bit = upstream * hard_by_d * d_by_theta, upstream * hard_by_largest * largest_by_theta
    return upstream * np.sign(np.abs(w)), dz, bit


def _hard(quantizer, soft, precision):
    """``forward`` computes in float32 always; ``hard`` in the precision of its input."""
    return quantizer(soft) if precision == "float32" else quantizer.hard(soft)


def _levels(quantizer, soft):
    with torch.no_grad():
        s, delta, bound = quantizer.grid(soft)
        return deadzone_through(soft, s, delta, bound)[1].numpy()


def _sums_to(terms, upstream, tolerance):
    slack = np.abs(terms).sum() + 1e-3 * np.abs(upstream).sum()
    return pytest.approx(terms.sum(), rel=0, abs=tolerance * slack)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 5e-3)])
@quick
@given(seed=seeds, shape=shapes, dz=logits, bit=bit_logits, learn_bit=st.booleans(), per_channel=st.booleans())
def test_deadzone_gradients_follow_the_formulas(precision, tolerance, seed, shape, dz, bit, learn_bit, per_channel):
    w, upstream = _weights(seed, shape).astype(precision), _weights(seed + 1, shape).astype(precision)
    w.flat[3] = 0
    quantizer = _deadzone(dz, bit, (learn_bit, True), bits=3, per_channel=per_channel).to(getattr(torch, precision))
    theta_dz, theta_bit = quantizer.logit_dz.item(), quantizer.logit_bit.item() if learn_bit else 0.0
    soft = torch.from_numpy(w).requires_grad_()
    _hard(quantizer, soft, precision).backward(torch.from_numpy(upstream))
    bits, r = _bit_width(theta_bit) if learn_bit else 3, _r(w, per_channel)
    q = _levels(quantizer, soft)
    if precision == "float64":
        assert np.array_equal(q, _formula(w, r, theta_dz, bits)[0])
    by_w, by_dz, by_bit = _gradients(q.astype(float), w.astype(float), upstream, r, theta_dz, theta_bit, bits)
    assert np.allclose(soft.grad.numpy(), by_w, rtol=1e-6, atol=1e-6)
    assert quantizer.logit_dz.grad.item() == _sums_to(by_dz, upstream, tolerance)
    if learn_bit:
        assert quantizer.logit_bit.grad.item() == _sums_to(by_bit, upstream, tolerance)


def test_the_bits_learn_without_the_dead_zone():
    quantizer = _deadzone(0.7, 0.9, (True, False)).double()
    w = _weights(0, (20, 5)).astype(float)
    _hard(quantizer, torch.from_numpy(w), "float64").sum().backward()
    theta_dz, theta_bit = quantizer.logit_dz.item(), quantizer.logit_bit.item()
    q = _formula(w, _r(w), theta_dz, _bit_width(0.9))[0]
    terms = _gradients(q, w, np.ones_like(w), _r(w), theta_dz, theta_bit, _bit_width(0.9))[2]
    assert quantizer.logit_bit.grad.item() == _sums_to(terms, np.ones_like(w), 1e-9)
    assert [name for name, _ in quantizer.named_parameters()] == ["logit_bit"]


def test_pruned_and_clipped_weights_keep_their_gradient():
    soft = torch.tensor([0.01, -0.01, 50.0, *np.linspace(-1, 1, 200)], requires_grad=True)
    quantizer = _deadzone(0.5, quantile=0.9)
    hard = quantizer(soft)
    hard.sum().backward()
    assert hard[0] == hard[1] == 0
    assert hard[2] < 1.1
    assert torch.equal(soft.grad, torch.ones_like(soft))


@quick
@given(seed=seeds, shape=shapes, dz=logits, bits=st.integers(2, 16), per_channel=st.booleans())
def test_zero_exactly_where_the_weight_lies_in_the_dead_zone(seed, shape, dz, bits, per_channel):
    w = _weights(seed, shape).astype(np.float64)
    quantizer = _deadzone(dz, learn=(False, False), bits=bits, per_channel=per_channel).double()
    q = _levels(quantizer, torch.from_numpy(w))
    half = _r(w, per_channel) * (1 - abs(np.tanh(quantizer.logit_dz.item())))
    assert np.array_equal(q == 0, np.abs(w) <= half)


@quick
@given(seed=seeds, shape=shapes, dz=logits, bits=st.integers(2, 8), per_channel=st.booleans())
def test_deadzone_symbols_follow_the_formula_in_float32(seed, shape, dz, bits, per_channel):
    w = _weights(seed, shape)
    symbols = _deadzone(dz, learn=(False, False), bits=bits, per_channel=per_channel).symbols("w", torch.from_numpy(w))
    q, u, s, delta, _ = _formula(w.astype(np.float64), _r(w, per_channel), np.float64(np.float32(dz)), bits)
    assert symbols.floats["step"] == pytest.approx(np.ravel(s), rel=1e-4)
    assert symbols.floats["shift"] == pytest.approx(np.ravel(delta), rel=1e-4, abs=1e-5)
    off_ties = np.abs(np.abs(u / s) % 1 - 0.5) > 1e-2
    assert np.array_equal(symbols.index[off_ties], q[off_ties])
    assert np.abs(symbols.index).max() <= 2 ** (bits - 1) - 1


@quick
@given(seed=seeds, dz=logits, bits=st.integers(2, 8), per_channel=st.booleans())
def test_the_largest_level_lands_on_r(seed, dz, bits, per_channel):
    w = _weights(seed, (5, 200))
    quantizer = _deadzone(dz, learn=(False, False), bits=bits, per_channel=per_channel)
    hard = quantizer(torch.from_numpy(w)).numpy()
    peaks = np.abs(hard).max(1) if per_channel else np.abs(hard).max()
    assert peaks == pytest.approx(np.squeeze(_r(w, per_channel)), rel=1e-5, abs=2**bits * EPS)


@pytest.mark.parametrize("theta", [0.0, 0.3, 3.0])
def test_two_bits_leave_three_values(theta):
    w = _weights(5, (30, 30))
    hard = _deadzone(theta, learn=(False, False), bits=2)(torch.from_numpy(w)).numpy()
    assert np.unique(np.sign(hard)).tolist() == [-1, 0, 1]
    assert np.abs(hard[hard != 0]) == pytest.approx(_r(w), rel=1e-5)


def test_the_widest_dead_zone_keeps_what_lies_above_r():
    w = _weights(2, (1000,))
    hard = _deadzone(0.0, learn=(False, False))(torch.from_numpy(w)).numpy()
    assert (hard == 0).sum() == 990
    assert np.array_equal(hard != 0, np.abs(w) > _r(w))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_dead_zone_of_one_step_is_the_uniform_quantizer(bits):
    w, largest = _weights(bits, (20, 30)).astype(np.float64), 2 ** (bits - 1) - 1
    theta = np.arctanh(1 - 1 / (2 * largest))
    deadzone = _deadzone(theta, learn=(False, False), bits=bits).double()
    with torch.no_grad():
        deadzone.logit_dz.fill_(theta)
        hard = _hard(deadzone, torch.from_numpy(w), "float64").numpy()
    step = _r(w) / largest
    wanted = step * np.clip(np.rint(w / step), -largest, largest)
    off_ties = np.abs(np.abs(w / step) % 1 - 0.5) > 1e-4
    assert np.allclose(hard[off_ties], wanted[off_ties], rtol=1e-6, atol=1e-6)
    uniform, s = UniformQuantizer(bits=bits, scale=_scale()).levels(torch.from_numpy(w))
    assert np.allclose(hard[off_ties], (s * uniform).numpy()[off_ties], rtol=1e-6, atol=1e-5)


DEGENERATE = {
    "zeros": np.zeros((3, 4)),
    "one": np.array([[0.3]]),
    "one zero": np.array([[0.0]]),
    "one axis of one": np.array([-2.0]),
    "equal": np.full((2, 5), -0.7),
    "almost all zero": np.eye(1, 500),
    "a channel of zeros": np.array([[0.0, 0.0], [1.0, -2.0]]),
    "tiny": np.full((2, 3), 1e-30),
    "large": np.array([[1e4, -1e-4], [3.0, 2e4]]),
}


@pytest.mark.parametrize("name", sorted(DEGENERATE))
@pytest.mark.parametrize("theta", [0.0, 1e-12, -1e-4, 3.0, 50.0])
@pytest.mark.parametrize("per_channel", [False, True])
def test_deadzone_stays_finite(name, theta, per_channel):
    soft = torch.tensor(DEGENERATE[name], dtype=torch.float32, requires_grad=True)
    quantizer = _deadzone(theta, theta, per_channel=per_channel)
    hard = quantizer(soft)
    hard.square().sum().backward()
    assert torch.isfinite(hard).all()
    assert hard.abs().max() <= soft.detach().abs().max() + 1e-5
    for tensor in (soft, quantizer.logit_dz, quantizer.logit_bit):
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", sorted(DEGENERATE))
@pytest.mark.parametrize("statistic", ["max", "quantile"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_uniform_stays_finite(name, statistic, per_channel):
    soft = torch.tensor(DEGENERATE[name], dtype=torch.float32, requires_grad=True)
    quantizer = UniformQuantizer(bits=4, scale=_scale(per_channel, statistic))
    hard = quantizer(soft)
    hard.square().sum().backward()
    assert torch.isfinite(hard).all()
    assert hard.abs().max() <= soft.detach().abs().max() * 1.0001 + 1e-6
    assert torch.isfinite(soft.grad).all()


@pytest.mark.parametrize("theta", [0.0, 0.2, 0.5, 1.0, 2.0, 3.0, -1.0])
def test_the_bit_width_is_learnt_between_two_and_max_bits(theta):
    assert _deadzone(bit=theta).bit_width().item() == _bit_width(theta)
    assert 2 <= _deadzone(bit=theta).bit_width().item() <= 8


def test_a_fixed_bit_width_has_no_logit():
    quantizer = _deadzone(learn=(False, True), bits=5)
    assert quantizer.bit_width().item() == 5
    assert [name for name, _ in quantizer.named_parameters()] == ["logit_dz"]
    assert list(quantizer.state_dict()) == ["logit_dz"]


def test_a_fixed_dead_zone_is_a_buffer():
    quantizer = _deadzone(0.4, learn=(False, False))
    assert list(quantizer.parameters()) == []
    assert quantizer.state_dict() == {"logit_dz": torch.tensor(0.4)}


@quick
@given(seed=seeds, shape=shapes, bits=st.integers(2, 10), per_channel=st.booleans(), quantile=st.floats(0.3, 1))
def test_uniform_values_and_gradients_follow_the_formula(seed, shape, bits, per_channel, quantile):
    w, upstream = _weights(seed, shape).astype(np.float64), _weights(seed + 1, shape).astype(np.float64)
    quantizer = UniformQuantizer(bits=bits, scale=_scale(per_channel, quantile=quantile))
    soft = torch.from_numpy(w).requires_grad_()
    q, s = quantizer.levels(soft)
    (s * q).backward(torch.from_numpy(upstream))
    largest = 2 ** (bits - 1) - 1
    step = _r(w, per_channel, quantile=quantile) / largest + EPS
    x = w / step
    off_ties = np.abs(np.abs(x) % 1 - 0.5) > 1e-6
    assert np.allclose(np.ravel(s.numpy()), np.ravel(step), rtol=1e-12)
    assert np.array_equal(q.detach().numpy()[off_ties], np.clip(np.rint(x), -largest, largest)[off_ties])
    kept = np.abs(np.rint(x)) <= largest
    assert np.allclose(soft.grad.numpy()[off_ties], (upstream * kept)[off_ties], rtol=1e-9)


@quick
@given(seed=seeds, shape=shapes, bits=st.integers(2, 8), per_channel=st.booleans())
def test_uniform_reaches_r_and_errs_by_half_a_step(seed, shape, bits, per_channel):
    w = _weights(seed, shape)
    hard = UniformQuantizer(bits=bits, scale=_scale(per_channel, "max"))(torch.from_numpy(w)).numpy()
    r = _r(w, per_channel, "max")
    step = r / (2 ** (bits - 1) - 1)
    assert np.abs(hard).max() == pytest.approx(np.max(r), rel=1e-5)
    assert (np.abs(hard - w) <= step / 2 * 1.0001 + 1e-5).all()


@quick
@given(seed=seeds, shape=shapes, quantile=st.one_of(st.just(0.99), st.floats(0.01, 1)), per_channel=st.booleans())
def test_the_quantile_is_numpys(seed, shape, quantile, per_channel):
    w = _weights(seed, shape)
    r = absolute_scale(torch.from_numpy(w), "quantile", quantile, per_channel)
    wanted = _r(w, per_channel, quantile=quantile)
    assert r.shape == np.shape(wanted)
    assert r.numpy() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 100, 101, 1000])
def test_the_99th_percentile_of_known_numbers(size):
    w = torch.arange(size, dtype=torch.float32) * -1
    assert float(absolute_scale(w, "quantile", 0.99, False)) == pytest.approx(0.99 * (size - 1), rel=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_maximum(per_channel):
    w = _weights(1, (4, 3, 2))
    r = absolute_scale(torch.from_numpy(w), "max", 0.5, per_channel)
    assert np.array_equal(r.numpy(), _r(w, per_channel, "max"))


@pytest.mark.parametrize("statistic", ["max", "quantile"])
def test_the_scale_takes_no_gradient(statistic):
    w = torch.ones(5, requires_grad=True)
    assert not absolute_scale(w, statistic, 0.9, False).requires_grad


@pytest.mark.parametrize("kind", sorted(QUANTIZERS))
@quick
@given(seed=seeds, shape=shapes, dz=logits, bits=st.integers(2, 16), per_channel=st.booleans())
def test_the_decoder_gives_the_forwards_weights_bit_for_bit(kind, seed, shape, dz, bits, per_channel):
    w = torch.from_numpy(_weights(seed, shape, size=0.1))
    quantizer = {
        "deadzone": _deadzone(dz, learn=(False, True), bits=bits, per_channel=per_channel),
        "uniform": UniformQuantizer(bits=bits, scale=_scale(per_channel)),
    }[kind]
    symbols = quantizer.symbols("layer.weight", w)
    assert (symbols.name, symbols.decoder, symbols.bits) == ("layer.weight", kind, bits)
    assert symbols.index.dtype == np.int32
    assert all(values.dtype == np.float32 for values in symbols.floats.values())
    assert all(values.size == (shape[0] if per_channel else 1) for values in symbols.floats.values())
    assert np.array_equal(symbols.weights(), quantizer(w).detach().numpy())


@pytest.mark.parametrize("quantizer", [_deadzone(3.0, 3.0), UniformQuantizer(bits=8, scale=_scale())])
def test_autocast_leaves_the_quantizer_in_float32(quantizer):
    w = torch.from_numpy(_weights(3, (16, 16)))
    alone = quantizer(w)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (w @ w).dtype == torch.bfloat16
        mixed = quantizer(w)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, alone)
    assert quantizer(w.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
def test_every_quantizer_is_one(name):
    assert issubclass(QUANTIZERS[name], Quantizer)
