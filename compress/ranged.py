"""Adaptive range coding of integers: within a fraction of a percent of their zero-order entropy, and no table in the file.

    byte b: bits of the largest magnitude, 0 for zeros alone | words u32, little-endian, of one range coder

Values are coded in blocks that grow with what is known. Of each block the magnitudes come first, as paths through a binary tree
(b <= 8), or as bit length by a tree, its three highest mantissa bits by trees of that length, and the rest as plain bits; then the
signs of what is not zero. A node's probability of a one is (2 ones + 1) / (2 all + 2) of the blocks before (Krichevsky &
Trofimov 1981), as a whole number of 65536ths: integers alone, so that every machine decodes alike. The range coder is
constriction's (Bamler 2022, arXiv 2201.01741), 32-bit words, 64-bit state, 24-bit precision; ``PlainDecoder`` is the same in
plain Python, for machines that have no constriction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import constriction
except ImportError:  # no wheel for this platform
    constriction = None

__all__ = ["PlainDecoder", "decode_range", "encode_range", "has_constriction"]

Ints = NDArray[np.int64]
_ONE = 1 << 16
_PRECISION = 24
_TREE_BITS, _LENGTH_LEVELS, _MANTISSA_LEVELS = 8, 6, 3
_LENGTH_NODES = 1 << _LENGTH_LEVELS
_FIRST_BLOCK = 64
_MOST_A_BYTE = 8 * 65536  # the likeliest bit there is takes 1/45,426 of a bit
_SIGN = 0  # trees begin at node 1


def has_constriction() -> bool:
    """Whether integers can be range-coded here; they can be decoded everywhere."""
    return constriction is not None


class Coder(Protocol):
    """Codes bits, each with its chance of being one in 65536ths; a decoder is given None and returns the bits."""

    def code(self, bits: Ints | None, chance: Ints) -> Ints: ...


class _Encoder:
    def __init__(self) -> None:
        self.queue, self.model = constriction.stream.queue.RangeEncoder(), _bernoulli()

    def code(self, bits: Ints | None, chance: Ints) -> Ints:
        assert bits is not None
        if bits.size:
            self.queue.encode(bits.astype(np.int32), self.model, chance / _ONE)
        return bits


class _Decoder:
    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.queue, self.model = constriction.stream.queue.RangeDecoder(words), _bernoulli()

    def code(self, bits: Ints | None, chance: Ints) -> Ints:
        if not chance.size:
            return chance
        decoded: Ints = self.queue.decode(self.model, chance / _ONE).astype(np.int64)
        return decoded


class PlainDecoder:
    """The range decoder of constriction 0.5, a bit at a time."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.words, self.at = [int(w) for w in words], 2
        first = (*self.words[:2], 0, 0)
        self.lower, self.range, self.point = 0, (1 << 64) - 1, (first[0] << 32) | first[1]

    def code(self, bits: Ints | None, chance: Ints) -> Ints:
        """As :class:`Coder`."""
        return np.array([self._bit(k) for k in chance.tolist()], dtype=np.int64)

    def _bit(self, chance: int) -> int:
        scale = self.range >> _PRECISION
        split = (((_ONE - chance) * ((1 << _PRECISION) - 2)) >> 16) + 1  # where ones begin, as constriction rounds it
        quantile = ((self.point - self.lower) % (1 << 64)) // scale
        if quantile >> _PRECISION:
            raise ValueError("the range coder's state is none that an encoder leaves")
        bit = int(quantile >= split)
        left, width = (split, (1 << _PRECISION) - split) if bit else (0, split)
        self.lower = (self.lower + scale * left) % (1 << 64)
        self.range = scale * width
        if self.range >> 32 == 0:
            word = self.words[self.at] if self.at < len(self.words) else 0
            self.lower = (self.lower << 32) % (1 << 64)
            self.range <<= 32
            self.point = ((self.point << 32) | word) % (1 << 64)
            self.at += 1
        return bit

    def whole(self) -> bool:
        """Whether an encoder would have left that many words: one or two beyond those that were used up."""
        return self.at - 1 <= len(self.words) <= self.at


class _Counts:
    """What was seen at each node of the trees."""

    def __init__(self, bits: int) -> None:
        nodes = 1 << bits if bits <= _TREE_BITS else _LENGTH_NODES * (1 + (1 << _MANTISSA_LEVELS))
        self.ones, self.all = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)

    def code(self, coder: Coder, bits: Ints | None, nodes: Ints) -> Ints:
        chance = ((2 * self.ones + 1) * _ONE) // (2 * self.all + 2)
        bits = coder.code(bits, np.minimum(np.maximum(chance, 1), _ONE - 1)[nodes])
        self.all += np.bincount(nodes, minlength=len(self.all))
        self.ones += np.bincount(nodes[bits == 1], minlength=len(self.all))
        return bits


def encode_range(values: NDArray[np.generic]) -> bytes:
    """Integers of 32 bits, flat."""
    flat = np.asarray(values).astype(np.int64).reshape(-1)
    low, high = int(flat.min(initial=0)), int(flat.max(initial=0))
    if low < -(1 << 31) or high >= 1 << 31:
        raise ValueError(f"integers from {low} to {high}, expected 32 bits at most")
    bits = max(-low, high).bit_length()
    if not bits:
        return bytes([0])
    coder = _Encoder()
    for _ in _blocks(coder, flat, flat.size, bits):
        pass
    return bytes([bits]) + coder.queue.get_compressed().astype("<u4").tobytes()


def decode_range(data: bytes, count: int, plain: bool = False) -> NDArray[np.int32]:
    """The inverse, int32; ValueError for bytes that do not fit. ``plain``: without constriction, however slow."""
    bits = data[0] if data else 255
    if bits > 32 or (len(data) - 1) % 4 or (bits == 0) != (len(data) == 1):
        raise ValueError(f"{len(data)} bytes that begin with {bits}, expected a bit width up to 32 and whole words")
    if not 0 <= count <= (len(data) * _MOST_A_BYTE if bits else count):
        raise ValueError(f"{count} integers in {len(data)} bytes, more than any code holds")
    if not bits:
        return np.zeros(count, np.int32)
    words = np.frombuffer(data, dtype="<u4", offset=1).astype(np.uint32)
    coder = PlainDecoder(words) if plain or not has_constriction() else _Decoder(words)
    try:
        parts = list(_blocks(coder, None, count, bits))
    except AssertionError as error:  # constriction's word for a state that no encoder leaves
        raise ValueError(str(error)) from error
    values = np.concatenate([*parts, np.zeros(0, np.int64)])
    if (values < -(1 << 31)).any() or (values >= 1 << 31).any() or not _whole(coder, data, values):
        raise ValueError(f"codes other than {count} integers of 32 bits and its own end")
    return values.astype(np.int32)


def _whole(coder: Coder, data: bytes, values: Ints) -> bool:
    """Whether nothing is cut off or left over; constriction does not tell, but there is one code for each array."""
    return coder.whole() if isinstance(coder, PlainDecoder) else encode_range(values) == data


def _bernoulli() -> Any:
    return constriction.stream.model.Bernoulli(perfect=False)


def _blocks(coder: Coder, flat: Ints | None, count: int, bits: int) -> Iterator[Ints]:
    """The values block by block, coded on the way."""
    counts, done = _Counts(bits), 0
    while done < count:
        size = min(count - done, max(_FIRST_BLOCK, done // 4))
        values = None if flat is None else flat[done : done + size]
        yield _block(coder, counts, values, size, bits)
        done += size


def _block(coder: Coder, counts: _Counts, values: Ints | None, size: int, bits: int) -> Ints:
    given = None if values is None else np.abs(values)
    start = np.ones(size, np.int64)
    if bits <= _TREE_BITS:
        size_of = _tree(coder, counts, given, start, bits)
    else:
        size_of = _by_length(coder, counts, given, start)
    at = np.flatnonzero(size_of)
    negative = counts.code(
        coder, None if values is None else (values[at] < 0).astype(np.int64), np.full(len(at), _SIGN)
    )
    size_of[at] *= 1 - 2 * negative
    return size_of


def _tree(coder: Coder, counts: _Counts, values: Ints | None, path: Ints, levels: int) -> Ints:
    """``levels`` bits of each value from the highest, every path its own context."""
    for level in reversed(range(levels)):
        bit = counts.code(coder, None if values is None else (values >> level) & 1, path)
        path = 2 * path + bit
    return path - (1 << levels)


def _by_length(coder: Coder, counts: _Counts, values: Ints | None, start: Ints) -> Ints:
    """Bit length, then the bits below the leading one."""
    lengths = None if values is None else _bit_length(values)
    lengths = _tree(coder, counts, lengths, start, _LENGTH_LEVELS)
    longest = int(lengths.max(initial=0))
    if longest > 32:
        raise ValueError(f"a magnitude of {longest} bits, at most 32 expected")
    found, path = (lengths > 0).astype(np.int64), start.copy()
    for below in range(1, longest):
        at = np.flatnonzero(lengths > below)
        bit = None if values is None else (values[at] >> (lengths[at] - 1 - below)) & 1
        if below <= _MANTISSA_LEVELS:
            nodes = _LENGTH_NODES + lengths[at] * (1 << _MANTISSA_LEVELS) + path[at]
            bit = counts.code(coder, bit, nodes)
            path[at] = 2 * path[at] + bit
        else:
            bit = coder.code(bit, np.full(len(at), _ONE // 2))
        found[at] = 2 * found[at] + bit
    return found


def _bit_length(values: Ints) -> Ints:
    """Exact for magnitudes up to 2^53: the exponent of a float64."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
