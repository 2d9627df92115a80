import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.codecs import CODECS, codec_for, model_of
from compress.ranged import has_constriction

LZMA, FLOAT32, FLOAT16 = CODECS["lzma"], CODECS["float32"], CODECS["float16"]
INT32 = np.iinfo(np.int32)
quick = settings(max_examples=40, deadline=None)

integers = st.sampled_from([3, 127, 128, 32767, 32768, INT32.max]).flatmap(
    lambda peak: hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(max(-peak - 1, INT32.min), peak))
)
shapes = st.lists(st.integers(0, 6), max_size=3).map(tuple)
singles = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32))


@quick
@given(integers)
@example(np.zeros(0, np.int64))
@example(np.zeros(1, np.int64))
@example(np.zeros(1000, np.int64))
@example(np.array([INT32.min, INT32.max, 0, -1]))
@example(np.array([-128]))
@example(np.array([-32768]))
def test_integers_come_back(values):
    decoded = LZMA.decode(LZMA.encode(values), values.shape)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_the_whole_range_of_a_type_comes_back(dtype):
    low, high = max(np.iinfo(dtype).min, INT32.min), min(np.iinfo(dtype).max, INT32.max)
    values = np.array([low, high, 0, 1, high, low], dtype)
    assert np.array_equal(LZMA.decode(LZMA.encode(values), values.shape), values)


@quick
@given(singles)
def test_floats_come_back_bit_for_bit(values):
    decoded = FLOAT32.decode(FLOAT32.encode(values), values.shape)
    number = ~np.isnan(values)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded.view(np.uint32)[number], values.view(np.uint32)[number])
    assert np.isnan(decoded[~number]).all()


def test_decoded_arrays_can_be_written():
    LZMA.decode(LZMA.encode(np.arange(3)), (3,))[0] = 5
    FLOAT32.decode(FLOAT32.encode(np.zeros(3, np.float32)), (3,))[0] = 5


@quick
@given(integers, shapes)
def test_another_count_of_integers_is_refused(values, shape):
    data = LZMA.encode(values)
    if math.prod(shape) != values.size:
        with pytest.raises(ValueError, match="bytes"):
            LZMA.decode(data, shape)


@pytest.mark.parametrize("codec", [FLOAT32, FLOAT16])
@quick
@given(st.integers(0, 60), shapes)
def test_another_count_of_floats_is_refused(codec, count, shape):
    data = codec.encode(np.linspace(-1, 1, count))
    if math.prod(shape) != count:
        with pytest.raises(ValueError, match="bytes"):
            codec.decode(data, shape)


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 24), (24, 1), (6, 2, 2), (24,)])
def test_the_shape_is_the_one_asked_for(name, shape):
    values = np.resize({"zeros": [0.0], "ones": [1.0]}.get(name, [0, 3, -1]), shape)
    decoded = CODECS[name].decode(CODECS[name].encode(values), shape)
    assert decoded.shape == shape
    assert np.array_equal(decoded, values)
    decoded[:] = 0  # it can be written


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("size", [0, 1, 50])
def test_every_cut_is_refused(name, size):
    data = CODECS[name].encode(np.arange(size))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            CODECS[name].decode(data[:length], (size,))


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("size", [0, 1, 50])
def test_bytes_after_the_end_are_refused(name, size):
    data = CODECS[name].encode(np.arange(size))
    for tail in (b"\0", b"\0\0\0\0", b"junk"):
        with pytest.raises(ValueError, match=r"\w"):
            CODECS[name].decode(data + tail, (size,))


@pytest.mark.parametrize("name", sorted(CODECS))
@quick
@given(st.binary(max_size=40), st.lists(st.integers(-1, 40), max_size=3).map(tuple))
def test_foreign_bytes_decode_to_the_shape_or_are_refused(name, data, shape):
    with suppress(ValueError):
        assert CODECS[name].decode(data, shape).shape == shape


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("shape", [(0, 10**30), (1,) * 70, (-1, 0)])
def test_shapes_that_no_array_has_are_refused(name, shape):
    data = CODECS[name].encode(np.zeros(math.prod(shape) if len(shape) > 2 else 0))
    with pytest.raises(ValueError, match=r"\w"):
        CODECS[name].decode(data, shape)


@quick
@given(hnp.arrays(np.float32, shapes, elements=st.sampled_from([0.0, 1.0, -0.0, 0.5, np.inf, np.nan])))
@example(np.zeros((2, 3), np.float32))
@example(np.ones(4, np.float32))
@example(np.full(4, -0.0, np.float32))
@example(np.array([np.nan], np.float32))
def test_the_codec_that_is_chosen_loses_nothing(values):
    for array in (values, values.astype(np.float16)):
        codec = CODECS[codec_for(array)]
        decoded = codec.decode(codec.encode(array), array.shape)
        assert np.array_equal(decoded, array, equal_nan=True)
        assert np.array_equal(np.signbit(decoded), np.signbit(array))


def test_constants_take_no_bytes_and_only_where_all_is_constant():
    assert codec_for(np.zeros((2, 3), np.float32)) == "zeros"
    assert codec_for(np.ones(5, np.float16)) == "ones"
    assert codec_for(np.array([0.0, -0.0], np.float32)) == "float32"
    assert codec_for(np.array([1.0, 0.0], np.float32)) == "float32"
    assert [CODECS[name].encode(np.ones(9)) for name in ("zeros", "ones")] == [b"", b""]


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_width_is_what_every_element_takes(name):
    width = CODECS[name].width
    sizes = [len(CODECS[name].encode(np.ones(n))) for n in (0, 1, 7)]
    assert width is None or sizes == [0, width, 7 * width]


def test_a_model_is_told_in_words():
    for values, words in (
        (np.eye(8, dtype=int).reshape(4, 4, 2, 2), "context, 4 phases, 2 wide"),
        (np.zeros(9, int), ""),
    ):
        if has_constriction():
            said = model_of("context", CODECS["context"].encode(values), values.shape)
            assert said == (words or "nothing but zeros")
    assert model_of("lzma", b"\1", (3,)) == "lzma"


def test_lzma_shrinks_what_repeats():
    assert len(LZMA.encode(np.zeros(10_000, np.int32))) < 60
    assert len(LZMA.encode(np.tile([0, 0, 1, -1], 2_500))) < 100


def test_codec_follows_the_kind_of_index():
    assert codec_for(np.full(2, 0.5, np.float32)) == "float32"
    assert codec_for(np.full(2, 0.5, np.float64)) == "float32"
    assert codec_for(np.full(2, 0.5, np.float16)) == "float16"
    assert codec_for(np.zeros(2, np.int32)) == codec_for(np.zeros(2, np.int64))
    assert codec_for(np.zeros(2, np.int32)) == ("context" if has_constriction() else "lzma")


@pytest.mark.parametrize("name", ["lzma", "context"])
def test_integers_of_more_than_32_bits_are_refused(name):
    with pytest.raises(ValueError, match="32 bits at most"):
        CODECS[name].encode(np.array([2**31]))


def test_few_integers_are_bytes_where_a_coder_costs_more():
    vector = np.arange(-8, 8)
    assert codec_for(vector) == "int8"
    assert len(CODECS["int8"].encode(vector)) == 16
    assert codec_for(np.zeros(16, int)) != "int8"
    assert codec_for(np.arange(-128, 128)) != "int8"
    assert codec_for(np.tile(vector, 40)) != "int8"
