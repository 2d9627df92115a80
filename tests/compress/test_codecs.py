from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.codecs import CODECS, codec_for
from compress.ranged import has_constriction

LZMA, FLOAT32 = CODECS["lzma"], CODECS["float32"]
INT32 = np.iinfo(np.int32)
quick = settings(max_examples=40, deadline=None)

integers = st.sampled_from([3, 127, 128, 32767, 32768, INT32.max]).flatmap(
    lambda peak: hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(max(-peak - 1, INT32.min), peak))
)
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
    decoded = LZMA.decode(LZMA.encode(values), values.size)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_the_whole_range_of_a_type_comes_back(dtype):
    low, high = max(np.iinfo(dtype).min, INT32.min), min(np.iinfo(dtype).max, INT32.max)
    values = np.array([low, high, 0, 1, high, low], dtype)
    assert np.array_equal(LZMA.decode(LZMA.encode(values), values.size), values)


@quick
@given(singles)
def test_floats_come_back_bit_for_bit(values):
    decoded = FLOAT32.decode(FLOAT32.encode(values), values.size)
    number = ~np.isnan(values)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded.view(np.uint32)[number], values.view(np.uint32)[number])
    assert np.isnan(decoded[~number]).all()


def test_decoded_arrays_can_be_written():
    LZMA.decode(LZMA.encode(np.arange(3)), 3)[0] = 5
    FLOAT32.decode(FLOAT32.encode(np.zeros(3, np.float32)), 3)[0] = 5


@quick
@given(integers, st.integers(-3, 300))
def test_another_count_of_integers_is_refused(values, count):
    data = LZMA.encode(values)
    if count != values.size:
        with pytest.raises(ValueError, match="bytes"):
            LZMA.decode(data, count)


@quick
@given(singles, st.integers(-3, 300))
def test_another_count_of_floats_is_refused(values, count):
    data = FLOAT32.encode(values)
    if count != values.size:
        with pytest.raises(ValueError, match="bytes"):
            FLOAT32.decode(data, count)


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("size", [0, 1, 50])
def test_every_cut_is_refused(name, size):
    data = CODECS[name].encode(np.arange(size))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            CODECS[name].decode(data[:length], size)


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("size", [0, 1, 50])
def test_bytes_after_the_end_are_refused(name, size):
    data = CODECS[name].encode(np.arange(size))
    for tail in (b"\0", b"\0\0\0\0", b"junk"):
        with pytest.raises(ValueError, match=r"\w"):
            CODECS[name].decode(data + tail, size)


@quick
@given(st.binary(max_size=40), st.integers(0, 40))
def test_foreign_bytes_decode_to_the_count_or_are_refused(data, count):
    for codec in CODECS.values():
        with suppress(ValueError):
            assert codec.decode(data, count).shape == (count,)


def test_lzma_shrinks_what_repeats():
    assert len(LZMA.encode(np.zeros(10_000, np.int32))) < 60
    assert len(LZMA.encode(np.tile([0, 0, 1, -1], 2_500))) < 100


def test_codec_follows_the_kind_of_index():
    assert codec_for(np.zeros(2, np.float32)) == "float32"
    assert codec_for(np.zeros(2, np.float64)) == "float32"
    assert codec_for(np.zeros(2, np.int32)) == codec_for(np.zeros(2, np.int64))
    assert codec_for(np.zeros(2, np.int32)) == ("range" if has_constriction() else "lzma")
    assert codec_for(np.zeros(2, np.float16)) == "float16"


def test_integers_of_more_than_32_bits_are_refused():
    with pytest.raises(ValueError, match="32 bits at most"):
        CODECS["lzma"].encode(np.array([2**31]))
