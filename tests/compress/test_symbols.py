import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.symbols import Symbols, raw, weight_bits
from compress.transforms import TRANSFORMS

indices = hnp.arrays(np.int32, hnp.array_shapes(min_dims=1, max_dims=5, max_side=4), elements=st.integers(-127, 127))


def _floats(index, per_channel, seed):
    count = index.shape[0] if per_channel else 1
    return np.random.default_rng(seed).uniform(0.01, 1, count).astype(np.float32)


def _each(values, index):
    """One float an element of the index, by a plain loop over the first axis."""
    wide = np.empty(index.shape, np.float32)
    for channel in range(index.shape[0]):
        wide[channel] = values[channel] if values.size > 1 else values[0]
    return wide


@given(indices, st.booleans(), st.integers(0, 99))
def test_uniform_is_step_times_index(index, per_channel, seed):
    step = _floats(index, per_channel, seed)
    weights = Symbols("w", index, "uniform", {"step": step}, 8).weights()
    assert weights.dtype == np.float32
    assert np.array_equal(weights, index.astype(np.float32) * _each(step, index))


@given(indices, st.booleans(), st.booleans(), st.integers(0, 99))
def test_deadzone_adds_a_shift_away_from_zero(index, step_per_channel, shift_per_channel, seed):
    step, shift = _floats(index, step_per_channel, seed), _floats(index, shift_per_channel, seed + 1)
    weights = Symbols("w", index, "deadzone", {"step": step, "shift": shift}, 8).weights()
    wanted = index.astype(np.float32) * _each(step, index)
    wanted = np.where(index > 0, wanted + _each(shift, index), wanted)
    wanted = np.where(index < 0, wanted - _each(shift, index), wanted)
    assert weights.dtype == np.float32
    assert np.array_equal(weights, wanted)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)))
def test_raw_keeps_values_and_shape(values):
    symbols = raw("x", values)
    assert (symbols.decoder, symbols.bits, dict(symbols.floats)) == ("raw", 32.0, {})
    assert symbols.index.shape == symbols.weights().shape == values.shape
    assert np.array_equal(symbols.weights(), values, equal_nan=True)


@pytest.mark.parametrize(
    ("decoder", "floats"),
    [("raw", {}), ("uniform", {"step": [0.5]}), ("deadzone", {"step": [0.5], "shift": [0.25]})],
)
def test_a_scalar_stays_a_scalar(decoder, floats):
    arrays = {name: np.array(value, np.float32) for name, value in floats.items()}
    assert Symbols("x", np.array(2, np.int32), decoder, arrays).weights().shape == ()


def test_raw_stores_float32_whatever_it_is_given():
    assert raw("x", np.array([1, 2, 3])).index.dtype == np.float32
    assert raw("x", np.array([0.1], np.float64)).weights()[0] == np.float32(0.1)


def test_weights_do_not_share_memory_with_the_index():
    values = np.ones(3, np.float32)
    raw("x", values).weights()[0] = 7
    assert values[0] == 1


def test_weights_are_contiguous_for_a_transposed_index():
    index = np.arange(6, dtype=np.int32).reshape(2, 3).T
    weights = Symbols("w", index, "uniform", {"step": np.ones(1, np.float32)}).weights()
    assert weights.flags.c_contiguous
    assert np.array_equal(weights, index)


@pytest.mark.parametrize("decoder", ["raw", "uniform", "deadzone"])
def test_an_empty_tensor_decodes_to_an_empty_tensor(decoder):
    names = {"raw": (), "uniform": ("step",), "deadzone": ("step", "shift")}[decoder]
    floats = {name: np.ones(1, np.float32) for name in names}
    assert Symbols("w", np.zeros((0, 3), np.int32), decoder, floats).weights().shape == (0, 3)


@given(indices)
def test_weight_bits_is_the_least_width_with_a_code_for_every_level(index):
    levels, bits = 2 * max(abs(int(q)) for q in index.flat) + 1, weight_bits(index)
    assert 2**bits >= levels
    assert bits == 0 or 2 ** (bits - 1) < levels


@pytest.mark.parametrize(("peak", "bits"), [(0, 0), (1, 2), (3, 3), (4, 4), (7, 4), (127, 8), (128, 9), (32767, 16)])
def test_weight_bits_at_the_edges(peak, bits):
    assert weight_bits(np.array([-peak, 0], np.int32)) == bits


@pytest.mark.parametrize(("dtype", "bits"), [(np.int8, 9), (np.int16, 17), (np.int32, 33)])
def test_weight_bits_of_a_types_lowest_integer(dtype, bits):
    assert weight_bits(np.array([np.iinfo(dtype).min], dtype)) == bits


def test_weight_bits_of_nothing_is_zero():
    assert weight_bits(np.zeros(0, np.int32)) == 0


@pytest.mark.parametrize("decoder", ["identity", "dct", "dft"])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (2, 3), (4,)])
def test_kernels_come_from_frequencies(decoder, kernel):
    generator, taps = np.random.default_rng(0), int(np.prod(kernel))
    index = generator.integers(-3, 4, (5, 2, *kernel)).astype(np.int32)
    step = generator.uniform(0.1, 1, taps).astype(np.float32)
    matrix = TRANSFORMS[decoder](kernel)
    wanted = (index.reshape(5, 2, taps) * step).astype(np.float64) @ matrix
    symbols = Symbols("w", index, decoder, {"step": step})
    assert symbols.weights() == pytest.approx(wanted.reshape(index.shape), abs=1e-6)
    assert symbols.nonzero() == np.count_nonzero(symbols.weights())


@pytest.mark.parametrize(("shape", "steps"), [((5, 2, 3, 3), 8), ((5, 9), 9), ((5, 2, 3, 3), 1)])
def test_steps_that_fit_no_kernel_are_refused(shape, steps):
    with pytest.raises(ValueError, match="steps for kernels"):
        Symbols("w", np.zeros(shape, np.int32), "dct", {"step": np.ones(steps, np.float32)}).weights()
