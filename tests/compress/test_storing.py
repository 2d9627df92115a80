import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.artifact import decode, encode
from compress.method import KnobError
from compress.methods.baseline import Baseline
from compress.storing import STORES, stored

tensors = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=5, max_side=4), elements=st.floats(-1e6, 1e6, width=32)
)


@given(tensors)
def test_float32_keeps_every_value(values):
    assert np.array_equal(stored("w", values, "float32").weights(), values)


@given(tensors)
def test_float16_rounds_to_nearest_and_what_it_cannot_hold_stays(values):
    kept = stored("w", values, "float16").weights()
    with np.errstate(over="ignore"):
        half = values.astype(np.float16).astype(np.float32)
    assert kept.dtype == np.float32
    assert np.array_equal(kept, half if np.isfinite(half).all() else values)


@pytest.mark.parametrize(("store", "bits"), [("int8", 8), ("int6", 6), ("int4", 4)])
@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=5),
        elements=st.floats(-9, 9, width=32),
    )
)
def test_integers_err_by_half_a_step_of_their_channel(store, bits, values):
    symbols, largest = stored("w", values, store), 2 ** (bits - 1) - 1
    if (values == 0).all() or (values == 1).all():
        assert np.array_equal(symbols.weights(), values)
        return
    peak = np.abs(values).reshape(len(values), -1).max(1).reshape((-1,) + (1,) * (values.ndim - 1))
    assert symbols.index.dtype == np.int32
    assert np.abs(symbols.index).max() <= largest
    assert symbols.bits == bits
    assert (np.abs(symbols.weights() - values) <= 0.5001 * peak / largest + 1e-30).all()


@pytest.mark.parametrize("store", ["int8", "int6", "int4"])
def test_tensors_of_one_axis_have_eight_bits_and_one_step(store):
    values = np.linspace(-3, 3, 7, dtype=np.float32)
    symbols = stored("bn.bias", values, store)
    assert (symbols.bits, symbols.floats["step"].shape) == (8, (1,))
    assert np.abs(symbols.weights() - values).max() <= 0.5001 * 3 / 127


@pytest.mark.parametrize("name", ["bn.running_mean", "bn.running_var"])
def test_statistics_are_halves_where_others_are_integers(name):
    values = np.linspace(1e-3, 3, 7, dtype=np.float32)
    assert np.array_equal(stored(name, values, "int4").index, values.astype(np.float16))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("value", [0, 1])
def test_zeros_and_ones_take_no_bytes(store, value):
    (section,) = decode(encode({}, [stored("w", np.full((9, 5), value, np.float32), store)])).sections
    assert section.size == 0


def test_numbers_that_are_none_are_kept_as_they_are():
    values = np.array([[np.inf, 1.0], [np.nan, 2.0]], np.float32)
    for store in STORES:
        assert np.array_equal(stored("w", values, store).weights(), values, equal_nan=True)


@pytest.mark.parametrize("store", STORES)
@given(values=tensors)
def test_what_is_stored_comes_back_from_the_file(store, values):
    symbols = stored("w", values, store)
    (back,) = decode(encode({}, [symbols])).tensors
    assert back.index.dtype.kind == symbols.index.dtype.kind
    assert np.array_equal(back.weights(), symbols.weights())


def test_a_narrower_store_is_a_smaller_file():
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    sizes = [len(encode({}, [stored("w", values, store)])) for store in STORES]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("values", [np.arange(4097), np.arange(400).reshape(20, 20), np.array([[True], [False]])])
def test_indices_and_flags_are_not_rounded(store, values):
    assert np.array_equal(stored("ids", values, store).weights(), values)


def test_an_unknown_store_is_refused():
    with pytest.raises(KnobError, match="store = 'int5': must be one of float32, float16, int8, int6, int4"):
        Baseline(store="int5")


def test_a_vector_in_which_one_number_dwarfs_the_rest_stays_halves():
    values = np.array([316.0, 1.8, 2.1, -1.7, 0.0], np.float32)
    assert np.array_equal(stored("bn.weight", values, "int8").index, values.astype(np.float16))


def test_one_number_a_channel_is_a_vector():
    symbols = stored("gain", np.linspace(1, 2, 5, dtype=np.float32).reshape(5, 1, 1), "int4")
    assert (symbols.bits, symbols.floats["step"].shape, symbols.index.shape) == (8, (1,), (5, 1, 1))


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_numbers_too_small_for_a_step_become_zeros(shape):
    assert not stored("w", np.full(shape, 1e-45, np.float32), "int4").weights().any()
