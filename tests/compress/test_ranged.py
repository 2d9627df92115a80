import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compress.ranged import Encoder, PlainDecoder, decoder_of, has_constriction

quick = settings(max_examples=60, deadline=None)
needs_constriction = pytest.mark.skipif(not has_constriction(), reason="no wheel for this platform")
ONE = 1 << 16
ROOT = Path(__file__).parents[2]
chances = st.integers(1, ONE - 1) | st.sampled_from([1, 2, ONE // 2, ONE - 2, ONE - 1])
coded = st.lists(st.tuples(st.integers(0, 1), chances), max_size=200)
damage = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "append", "replace"]), st.integers(0, 999), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=3,
)

# the bits 0, 1, 0, 1, ... with chances from 1 to 65,535 of 65,536; written once, decoded for ever
GOLDEN = [4288246930, 2642100095]


def _golden():
    return np.arange(40) % 2, np.linspace(1, ONE - 1, 40).astype(np.int64) / ONE


def _arrays(pairs):
    bits, chance = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return bits, chance / ONE


def _words(bits, chance, parts=1):
    coder = Encoder()
    for some, theirs in zip(np.array_split(bits, parts), np.array_split(chance, parts), strict=True):
        assert coder.code(some, theirs) is some
    return coder.words


def _said(words, chance, plain):
    """(bits, whether they are whole), or None where the words are refused."""
    coder = decoder_of(words, plain)
    try:
        return coder.code(None, chance).tolist(), coder.whole()
    except ValueError:
        return None


def _damaged(words, changes):
    words = words.tolist()
    for what, place, value in changes:
        at = place % max(len(words), 1)
        if what == "append":
            words.append(value if place % 2 else 0)
        elif words and what == "flip":
            words[at] ^= 1 << value % 32
        elif words and what == "replace":
            words[at] = value
        else:
            words = words[: len(words) - 1 - place % 3]
    return np.array(words, dtype=np.uint32)


@needs_constriction
@pytest.mark.parametrize("seed", [0, 1])
def test_all_chances_are_rounded_as_constriction_rounds_them(seed):
    """The plain decoder mirrors constriction's fixed point for each of the 65,535 chances there are."""
    draw = np.random.default_rng(seed)
    chance = draw.permutation(np.arange(1, ONE)) / ONE
    bits = draw.integers(0, 2, chance.size)
    words = _words(bits, chance)
    for plain in (False, True):
        coder = decoder_of(words, plain)
        decoded = coder.code(None, chance)
        assert decoded.dtype == np.int64
        assert np.array_equal(decoded, bits)
        assert coder.whole() is True


@needs_constriction
@quick
@given(coded, st.integers(1, 4))
@example([], 1)
@example([(1, 1)] * 200, 1)
@example([(0, ONE - 1)] * 200, 2)
@example([(1, ONE - 1)] * 200, 3)
def test_bits_come_back_by_either_decoder_however_they_are_divided(pairs, parts):
    bits, chance = _arrays(pairs)
    words = _words(bits, chance, parts)
    assert words.dtype == np.uint32
    assert np.array_equal(words, _words(bits, chance))
    for plain in (False, True):
        coder = decoder_of(words, plain)
        for some, theirs in zip(np.array_split(bits, 3), np.array_split(chance, 3), strict=True):
            assert coder.code(None, theirs).tolist() == some.tolist()
        assert coder.whole()


@needs_constriction
@settings(max_examples=300, deadline=None)
@given(coded, damage)
def test_both_decoders_say_the_same_of_damaged_words(pairs, changes):
    bits, chance = _arrays(pairs)
    words = _damaged(_words(bits, chance), changes)
    assert _said(words, chance, plain=False) == _said(words, chance, plain=True)


@needs_constriction
@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1]), max_size=8), coded)
def test_both_decoders_say_the_same_of_foreign_words(words, pairs):
    words, (_, chance) = np.array(words, dtype=np.uint32), _arrays(pairs)
    assert _said(words, chance, plain=False) == _said(words, chance, plain=True)


@needs_constriction
@pytest.mark.parametrize("plain", [False, True])
@settings(max_examples=150, deadline=None)
@given(coded, damage)
@example([(1, 3000)] * 2, [("append", 0, 0)])
@example([(1, 3000)] * 2, [("append", 1, 7)])
@example([(1, 3000)] * 50, [("cut", 0, 0)])
def test_only_what_an_encoder_leaves_is_whole(plain, pairs, changes):
    bits, chance = _arrays(pairs)
    words = _damaged(_words(bits, chance), changes)
    said = _said(words, chance, plain)
    if said and said[1]:
        assert _words(np.array(said[0], dtype=np.int64), chance).tolist() == words.tolist()


@needs_constriction
@pytest.mark.parametrize("plain", [False, True])
def test_words_are_not_whole_before_the_last_bit_is_read(plain):
    bits, chance = np.arange(400) % 2, np.full(400, 0.5)
    coder = decoder_of(_words(bits, chance), plain)
    coder.code(None, chance[:200])
    assert not coder.whole()
    coder.code(None, chance[200:])
    assert coder.whole()


@pytest.mark.parametrize("plain", [False, True])
def test_no_bits_take_no_words(plain):
    coder = decoder_of(np.zeros(0, np.uint32), plain)
    assert coder.code(None, np.zeros(0)).tolist() == []
    assert coder.whole()


@pytest.mark.parametrize("plain", [False, True])
def test_golden_words_are_decoded_for_ever(plain):
    bits, chance = _golden()
    coder = decoder_of(np.array(GOLDEN, dtype=np.uint32), plain)
    assert coder.code(None, chance).tolist() == bits.tolist()
    assert coder.whole()


@needs_constriction
def test_golden_words_are_what_is_written():
    assert _words(*_golden()).tolist() == GOLDEN


@needs_constriction
@quick
@given(st.integers(0, 2**32 - 1), st.integers(0, 5000), st.sampled_from([1, 300, ONE // 2, 65_000, ONE - 1]))
def test_words_take_what_the_chances_say(seed, count, centre):
    draw = np.random.default_rng(seed)
    chance = np.clip(draw.integers(centre - 200, centre + 200, count), 1, ONE - 1) / ONE
    bits = (draw.random(count) < chance).astype(np.int64)
    price = -float(np.log2(np.where(bits, chance, 1 - chance)).sum()) / 8
    assert abs(price - 4 * len(_words(bits, chance, 3))) <= 0.01 * price + 8


def test_decoders_are_constrictions_only_where_it_is():
    words = np.zeros(2, np.uint32)
    assert isinstance(decoder_of(words, plain=True), PlainDecoder)
    assert isinstance(decoder_of(words), PlainDecoder) is not has_constriction()


@pytest.mark.slow
def test_all_is_decoded_where_there_is_no_constriction():
    bits, chance = _golden()
    code = (
        "import sys; sys.modules['constriction'] = None\n"
        "from compress import codecs, contexts, ranged; import numpy as np\n"
        "assert not ranged.has_constriction() and codecs.codec_for(np.arange(300)) == 'lzma'\n"
        f"coder = ranged.decoder_of(np.array({GOLDEN!r}, dtype=np.uint32))\n"
        f"assert coder.code(None, np.array({chance.tolist()!r})).tolist() == {bits.tolist()!r} and coder.whole()\n"
        "from tests.compress.test_contexts import GOLDEN, SAMPLES\n"
        "for name, text in GOLDEN.items():\n"
        "    for decode in (contexts.decode_map, codecs.CODECS['context'].decode):\n"
        "        assert np.array_equal(decode(bytes.fromhex(text), SAMPLES[name].shape), SAMPLES[name]), name\n"
        "lzma = codecs.CODECS['lzma']\n"
        "print(lzma.decode(lzma.encode(np.arange(6).reshape(2, 3)), (2, 3)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[[0, 1, 2], [3, 4, 5]]"
