"""Range coding of bits, each with a chance of its own: constriction's coder, and the same in plain Python.

constriction 0.5 (Bamler 2022, arXiv 2201.01741): 32-bit words, 64-bit state, 24-bit precision. A chance is that of a one, a
whole number of 65536ths from 1 to 65535, given as float64 k / 65536, which is exact. ``PlainDecoder`` is for machines that have
no constriction.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import constriction
except ImportError:  # no wheel for this platform
    constriction = None

__all__ = ["Bits", "Chances", "Coder", "Encoder", "PlainDecoder", "decoder_of", "has_constriction"]

Bits = NDArray[np.int64]
Chances = NDArray[np.float64]
_PRECISION = 24
_ONE = 1 << 16


def has_constriction() -> bool:
    """Whether integers can be range-coded here; they can be decoded everywhere."""
    return constriction is not None


class Coder(Protocol):
    """``code`` takes bits and their chances and returns the bits; a decoder is given None for them."""

    def code(self, bits: Bits | None, chances: Chances) -> Bits: ...


class Encoder:
    """Writes bits; ``words`` is what it has written."""

    def __init__(self) -> None:
        self._queue, self._model = constriction.stream.queue.RangeEncoder(), _bernoulli()

    def code(self, bits: Bits | None, chances: Chances) -> Bits:
        """As :class:`Coder`."""
        assert bits is not None
        if bits.size:
            self._queue.encode(bits.astype(np.int32), self._model, chances)
        return bits

    @property
    def words(self) -> NDArray[np.uint32]:
        """All of it, closed."""
        return np.asarray(self._queue.get_compressed(), dtype=np.uint32)


class _Decoder:
    """Constriction's, with an encoder beside it: what was decoded has one code, and the words must be that."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._queue, self._model = constriction.stream.queue.RangeDecoder(words), _bernoulli()
        self._words, self._again = words, Encoder()

    def code(self, bits: Bits | None, chances: Chances) -> Bits:
        if not chances.size:
            return np.zeros(0, np.int64)
        try:
            return self._again.code(np.asarray(self._queue.decode(self._model, chances), dtype=np.int64), chances)
        except AssertionError as error:  # constriction's word for a state that no encoder leaves
            raise ValueError(str(error)) from error

    def whole(self) -> bool:
        return np.array_equal(self._again.words, self._words)


class PlainDecoder:
    """The range decoder of constriction 0.5, a bit at a time."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.words, self.at = [int(w) for w in words], 2
        first = (*self.words[:2], 0, 0)
        self.lower, self.range, self.point = 0, (1 << 64) - 1, (first[0] << 32) | first[1]

    def code(self, bits: Bits | None, chances: Chances) -> Bits:
        """As :class:`Coder`."""
        return np.array([self._bit(k) for k in (chances * _ONE).astype(np.int64).tolist()], dtype=np.int64)

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
        """Whether these are the words that an encoder closes with: the least whole word in the interval, or two."""
        if self.range == (1 << 64) - 1:
            return not self.words
        nearest = (((self.lower + 0xFFFFFFFF) >> 32) << 32) % (1 << 64)
        two = ((self.lower + self.range) >> 32) % (1 << 32) == nearest >> 32
        return self.point == nearest and len(self.words) == self.at - 1 + two


def decoder_of(words: NDArray[np.uint32], plain: bool = False) -> _Decoder | PlainDecoder:
    """A decoder of an encoder's words; ``plain``: without constriction, however slow."""
    return PlainDecoder(words) if plain or not has_constriction() else _Decoder(words)


def _bernoulli() -> Any:
    return constriction.stream.model.Bernoulli(perfect=False)
