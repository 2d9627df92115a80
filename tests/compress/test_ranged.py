import math
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress import ranged
from compress.ranged import decode_range, encode_range, has_constriction

quick = settings(max_examples=60, deadline=None)
needs_constriction = pytest.mark.skipif(not has_constriction(), reason="no wheel for this platform")
INT32 = np.iinfo(np.int32)
integers = st.sampled_from([1, 2, 3, 15, 127, 255, 256, 1000, 2**20, INT32.max]).flatmap(
    lambda peak: hnp.arrays(np.int64, st.integers(0, 300), elements=st.integers(max(-peak - 1, INT32.min), peak))
)

# written once, decoded for ever
GOLDEN = {
    "00": [0, 0, 0],
    "03000000a0": [5],
    "028c31c618ce39e75c18638cb5628c31c6aaaa2a873fabaaaa8aaa7c566491e4f59ea9a638a5a5b9665236beeb826d0f13300f27d8": [
        1,
        -1,
        0,
        2,
        -3,
    ]
    * 30,
    "20ad841482ecfefb4faaaaaa2a00c0d5a9": [-(2**31), 2**31 - 1, 0, 300, -7],
}


def entropy_bytes(values):
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(counts * np.log2(shares)).sum()) / 8


@needs_constriction
@quick
@given(integers)
@example(np.zeros(0, np.int64))
@example(np.array([INT32.min]))
@example(np.array([INT32.min, INT32.max, 0, -1]))
@example(np.array([255, -255, 256, -256] * 50))
@example(np.zeros(1000, np.int64))
def test_integers_come_back_by_either_decoder(values):
    data = encode_range(values)
    for plain in (False, True):
        decoded = decode_range(data, values.size, plain)
        assert decoded.dtype == np.int32
        assert np.array_equal(decoded, values)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("data", GOLDEN)
def test_golden_bytes_are_decoded_for_ever(data, plain):
    values = GOLDEN[data]
    assert decode_range(bytes.fromhex(data), len(values), plain).tolist() == values


@needs_constriction
@pytest.mark.parametrize("data", GOLDEN)
def test_golden_bytes_are_what_is_written(data):
    assert encode_range(np.array(GOLDEN[data])).hex() == data


@needs_constriction
@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("levels", [1, 3, 7, 100, 1000])
def test_size_is_within_two_percent_of_the_entropy(zeros, levels):
    draw = np.random.default_rng(levels)
    values = np.rint(draw.laplace(0, levels / 6 + 0.3, 60_000)).clip(-levels, levels).astype(int)
    values[draw.random(values.size) < zeros] = 0
    learnt = 2 * levels * math.log2(values.size) / 16  # half a logarithm of the count for each value, in bytes
    assert len(encode_range(values)) <= 1.02 * entropy_bytes(values) + learnt + 16


@needs_constriction
def test_all_chances_are_rounded_as_constriction_rounds_them():
    """The plain decoder mirrors constriction's fixed point for each of the 65,535 chances there are."""
    chance = np.arange(1, 1 << 16, dtype=np.int64)
    bits = np.random.default_rng(0).integers(0, 2, chance.size)
    coder = ranged._Encoder()
    coder.code(bits, chance)
    words = coder.queue.get_compressed()
    assert np.array_equal(ranged.PlainDecoder(words).code(None, chance), bits)
    assert np.array_equal(ranged._Decoder(words).code(None, chance), bits)


def test_integers_over_32_bits_are_refused():
    with pytest.raises(ValueError, match="integers from 0 to 2147483648, expected 32 bits at most"):
        encode_range(np.array([0, 2**31]))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 3),
        (b"\x21" + bytes(8), 3),
        (b"\x04", 3),
        (b"\x00" + bytes(4), 3),
        (b"\x04" + bytes(7), 3),
        (b"\x00", -1),
        (b"\x01" + bytes(4), 2**28),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_bytes_that_do_not_fit_are_refused(data, count, plain):
    with pytest.raises(ValueError, match=r"expected|integers"):
        decode_range(data, count, plain)


@quick
@given(st.binary(min_size=0, max_size=60), st.integers(0, 400), st.booleans())
def test_no_bytes_crash_a_decoder(data, count, plain):
    with suppress(ValueError):
        assert len(decode_range(data, count, plain)) == count


@needs_constriction
@quick
@given(integers.filter(lambda values: len(values) > 4), st.integers(0, 10_000), st.integers(1, 255))
def test_both_decoders_say_the_same_of_damaged_bytes(values, place, flip):
    data = bytearray(encode_range(values))
    data[place % len(data)] ^= flip
    said = []
    for plain in (False, True):
        try:
            said.append(decode_range(bytes(data), values.size, plain).tolist())
        except ValueError:
            said.append(None)
    if None not in said:
        assert said[0] == said[1]


def test_a_file_opens_where_there_is_no_constriction():
    code = (
        "import sys; sys.modules['constriction'] = None\n"
        "from compress import ranged, codecs; import numpy as np\n"
        "assert not ranged.has_constriction() and codecs.codec_for(np.zeros(3, int)) == 'lzma'\n"
        f"print(ranged.decode_range(bytes.fromhex({list(GOLDEN)[2]!r}), 150).tolist() == {GOLDEN[list(GOLDEN)[2]]!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
