"""The codec of index maps: every integer from what is known around it, and no table in the file.

    byte: bits of the largest magnitude, 0 for zeros alone | byte: the scan, plus 64, plus 128 where dead rows are left out
    a byte for each of the first four flags | a byte: share of living rows, where dead ones are left out
    words u32, little-endian, of one range coder

A map of shape (O, ...) is O rows of C columns. A scan reads it in *phases*, every P-th column, from the top in growing bands of
rows: for a convolution the phases are the taps of its kernels, so that a weight is coded knowing its neighbours in the
kernel. An integer is its bit length ℓ, by flags "longer than k?", and the sign; after all of these come the ℓ - 1 mantissa
bits of each. Flags see the phase, how dense row and column were so far, and how long the neighbours are; signs see the
neighbours' signs (``adaptive.Mixture``). Where many rows hold zeros alone, a bit a row says which, and the others are a
smaller map. Without the 64 a map is *early*: mantissa bits come with each batch, and the first flag sees one context more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from compress.adaptive import HALF, ONE, Mixture, Trees, squash
from compress.ranged import Coder, Encoder, decoder_of
from compress.scans import LATE, THINNED, Scan, bands, scans

__all__ = ["decode_map", "encode_map"]

Ints = NDArray[np.int64]
_BATCH = 512  # integers of a batch at first
_LONG, _LONG_BATCH = 5, 1024  # so many from that many bits on, where most integers take many flags
_TOLD = 4  # flags whose share is told in a byte
_MANTISSA = 3  # mantissa bits that are modelled; the rest are plain
_DENSE, _LEAN = 18, 13  # classes of density; the sum of signs that is told apart from larger ones
_NEARNESS = np.repeat(np.arange(12), [1, 1, 1, 2, 2, 3, 4, 7, 7, 7, 7, 183])  # of the neighbours' weighted sum
_NEAR = 12
_LOG = np.array([round(16 * math.log2(m / 128)) for m in range(128, 256)], dtype=np.int64)
_MOST_A_BYTE = 8 * 47_000  # the likeliest bit there is takes 1/45,426 of a bit


def encode_map(index: NDArray[np.generic]) -> bytes:
    """Integers of 32 bits, of any shape. The scan is the one that promises the fewest bits."""
    values = np.asarray(index).astype(np.int64)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < -(1 << 31) or high >= 1 << 31:
        raise ValueError(f"integers from {low} to {high}, expected 32 bits at most")
    top = max(-low, high).bit_length()
    if not top:
        return bytes([0])
    coder, told = Encoder(), b""
    living = _living(values)
    if living is not None:
        told = bytes([min(max(round(256 * living.mean()), 1), 255)])
        coder.code(living.astype(np.int64), np.full(len(living), told[0] / 256))
        values = values[living]
    flags, offered = _shares(values, top), scans(values.shape)
    costs = [_cost(values.reshape(values.shape[0], -1), scan) for scan in offered if len(offered) > 1]
    best = costs.index(min(costs)) if costs else 0
    _Map(values.shape, offered[best], top, flags).code(coder, values)
    head = bytes([top, best + LATE + (THINNED if told else 0), *flags])
    return head + told + coder.words.astype("<u4").tobytes()


def decode_map(data: bytes, shape: tuple[int, ...], plain: bool = False) -> NDArray[np.int32]:
    """The inverse, int32; ValueError for bytes that do not fit. ``plain``: without constriction, however slow."""
    count = math.prod(shape)
    if data == b"\0":
        return np.zeros(shape, np.int32)
    top = data[0] if data else 0
    thinned = len(data) > 1 and data[1] >= THINNED and len(shape) > 1
    start = 2 + min(top, _TOLD) + thinned
    if not 1 <= top <= 32 or len(data) < start or (len(data) - start) % 4 or (thinned and not data[start - 1]):
        raise ValueError(f"{len(data)} bytes that begin with {top}, expected a bit width up to 32 and whole words")
    if not 0 < count <= len(data) * _MOST_A_BYTE:
        raise ValueError(f"{count} integers in {len(data)} bytes, other than any code holds")
    coder = decoder_of(np.frombuffer(data, dtype="<u4", offset=start).astype(np.uint32), plain)
    living = np.ones(shape[:1], bool)
    if thinned:
        living = coder.code(None, np.full(shape[0], data[start - 1] / 256)) == 1
    part = (int(living.sum()), *shape[1:]) if shape else shape
    offered = scans(part)
    scan, early = data[1] % LATE, not data[1] & LATE
    if scan >= len(offered) or not math.prod(part):
        raise ValueError(f"scan {scan} of {part}, expected one below {len(offered)}")
    values = np.zeros(shape, np.int64)
    values[living] = _Map(part, offered[scan], top, data[2 : start - thinned], early).code(coder, None)
    if (values < -(1 << 31)).any() or (values >= 1 << 31).any() or not coder.whole():
        raise ValueError(f"codes other than {count} integers of 32 bits and its own end")
    return values.astype(np.int32)


def _living(values: Ints) -> NDArray[np.bool_] | None:
    """Rows with anything but zeros, where it pays to say which: a bit a row against the zeros of the dead ones."""
    if values.ndim < 2:
        return None
    living = np.asarray(values.reshape(len(values), -1).any(1))
    share, density = living.mean(), np.count_nonzero(values) / values.size
    if share == 1 or len(scans((int(living.sum()), *values.shape[1:]))) < len(scans(values.shape)):
        return None  # too few would be left for the best scan
    mask = -len(living) * (share * math.log2(share) + (1 - share) * math.log2(1 - share)) + 8
    zeros = -(1 - share) * values.size * math.log2(1 - density)
    return living if mask < zeros else None


def _cost(matrix: Ints, scan: Scan) -> float:
    """Bits of the integers, -2 to 2 told apart, knowing the two neighbours that a scan makes most of; no count of its learning."""
    symbols = np.clip(matrix, -2, 2) + 2
    known = np.zeros_like(symbols)
    for back in scan.back()[:2]:
        known *= 5
        known[:, back:] += symbols[:, :-back]
    seen = np.bincount((5 * known + symbols).reshape(-1), minlength=125).reshape(25, 5)
    share = np.maximum(seen, 1) / np.maximum(seen.sum(1, keepdims=True), 1)
    return -float((seen * np.log2(share)).sum())


def _shares(values: Ints, top: int) -> bytes:
    """The first flags' shares of ones, stretched, in eighths of a nat."""
    lengths = np.bincount(_bit_length(np.abs(values)).reshape(-1), minlength=top + 1)
    left = [int(lengths[k:].sum()) for k in range(min(top, _TOLD) + 1)]
    odds = [(left[k + 1] + 0.5) / (left[k] - left[k + 1] + 0.5) for k in range(len(left) - 1)]
    return bytes(min(max(round(8 * math.log(o)) + 128, 0), 255) for o in odds)


class _Map:
    """One map on its way through a coder: what was seen of it, and the chances that follow from that."""

    def __init__(self, shape: tuple[int, ...], scan: Scan, top: int, shares: bytes, early: bool = False) -> None:
        self.shape, self.scan, self.top, self.early = shape, scan, top, early
        self.rows = shape[0] if shape else 1
        self.batch = _LONG_BATCH if top >= _LONG and not early else _BATCH
        self.groups = math.prod(shape) // self.rows // scan.phases
        firsts = [squash(32 * (share - 128)) for share in shares] + [HALF] * top
        sizes, weight = ([1, 81, 81, _DENSE * _NEAR], 24_000) if early else ([1, 81, _DENSE * _NEAR], 32_000)
        self.flags = [Mixture(sizes, weight, firsts[0])]
        self.phases = np.zeros((scan.phases, 2, 1), np.int64)  # seen by the first flag
        self.flags += [Mixture([_DENSE * _NEAR], 59_000, first) for first in firsts[1:top]]
        self.signs = Mixture([81, 2 * _LEAN + 1], 32_768)
        self.mantissas = Trees(33 << _MANTISSA)
        self.dense = np.zeros(self.groups, np.int64)  # integers other than zero in each group of columns

    def code(self, coder: Coder, values: Ints | None) -> Ints:
        """All integers, of the map's shape."""
        found = np.empty((self.rows, self.groups, self.scan.phases), np.int64)
        given = None if values is None else values.reshape(found.shape)
        for band in bands(self.rows, self.groups, self.batch):
            self._band(coder, None if given is None else given[band], found[band], band.start)
        if not self.early:
            self._late(coder, None if given is None else given.reshape(-1), found.reshape(-1))
        return found.reshape(self.shape)

    def _late(self, coder: Coder, given: Ints | None, found: Ints) -> None:
        """The mantissas of all integers, of which ``found`` has lengths and signs."""
        for piece in bands(len(found), 1, _BATCH):
            sizes = None if given is None else np.abs(given[piece])
            found[piece] = np.sign(found[piece]) * self._mantissa(coder, sizes, np.abs(found[piece]))

    def _band(self, coder: Coder, given: Ints | None, found: Ints, above: int) -> None:
        """A band of rows, phase by phase; ``above``: rows done before it."""
        rows, groups, phases = found.shape
        sizes = None if given is None else np.abs(given.reshape(-1, phases).T)
        known = None if sizes is None else _bit_length(sizes)
        lengths = np.zeros((phases + 1, rows * groups), np.uint8)  # the last stands for what is not known
        signs = np.ones((phases + 1, rows * groups), np.uint8)  # 0 negative, 1 zero or not known, 2 positive
        drawn = np.zeros((phases, rows * groups), np.int64)
        dense, leaning = np.zeros(rows, np.int64), np.zeros(rows * groups, np.int64)
        for phase in range(phases):
            near = [phase - n if n <= phase else phases for n in self.scan.back()]
            row = _odds(dense, phase * groups)
            column = _odds(self.dense, above * phases + phase * rows)
            close = _density(row, column, phase > 0) * _NEAR + _NEARNESS[_weighted(lengths[near])]
            self.flags[0].seen[0] = self.phases[phase]  # a view: a batch knows no other phase
            contexts = [np.zeros(rows * groups, np.int64), _neighbours(lengths[near]), close]
            if self.early:
                contexts.insert(1, _apart(row, column))
            lengths[phase] = self._lengths(coder, None if known is None else known[phase], contexts)
            drawn[phase] = lengths[phase]
            if self.early:
                drawn[phase] = self._mantissa(coder, None if sizes is None else sizes[phase], drawn[phase])
            at = lengths[phase].nonzero()[0]
            lean = np.clip(leaning[at], -_LEAN, _LEAN) + _LEAN
            bits = None if given is None else (given[:, :, phase].reshape(-1)[at] > 0).astype(np.int64)
            positive = self.signs.code(coder, bits, [_base3(signs[near[:4]][:, at]), lean])
            signs[phase, at] = 2 * positive
            leaning[at] += 2 * positive - 1
            alive = (lengths[phase] > 0).reshape(rows, groups)
            dense += alive.sum(1)
            self.dense += alive.sum(0)
        drawn *= signs[:-1].astype(np.int64) - 1
        found[:] = drawn.T.reshape(found.shape)

    def _lengths(self, coder: Coder, known: Ints | None, contexts: list[Ints]) -> Ints:
        """Bit lengths of one batch."""
        lengths = np.zeros(len(contexts[0]), np.int64)
        longer = self.flags[0].code(coder, None if known is None else (known > 0).astype(np.int64), contexts)
        at, context = longer.nonzero()[0], contexts[-1]
        for k in range(1, self.top + 1):
            lengths[at] = k
            if k == self.top or not len(at):
                break
            bits = None if known is None else (known[at] > k).astype(np.int64)
            at = at[self.flags[k].code(coder, bits, [context[at]]).nonzero()[0]]
        return lengths

    def _mantissa(self, coder: Coder, sizes: Ints | None, lengths: Ints) -> Ints:
        """Magnitudes of the given bit lengths: the bits below the leading one, the j-th of all before the next."""
        found = (lengths > 0).astype(np.int64)
        for below in range(1, int(lengths.max(initial=0))):
            at = (lengths > below).nonzero()[0]
            bits = None if sizes is None else (sizes[at] >> (lengths[at] - 1 - below)) & 1
            if below <= _MANTISSA:
                bits = self.mantissas.code(coder, bits, (lengths[at] << _MANTISSA) + found[at])
            else:
                bits = coder.code(bits, np.full(len(at), HALF / ONE))
            found[at] = 2 * found[at] + bits
        return found


def _odds(ones: Ints, count: int) -> Ints:
    """log2 of the odds of a one after ``ones`` of ``count``, in 16ths."""
    return _log2(2 * ones + 1) - _log2(2 * (count - ones) + 1)


def _log2(values: Ints) -> Ints:
    """In 16ths, of whole numbers from 1 to 2^53."""
    length = _bit_length(values)
    return 16 * (length - 1) + _LOG[((values << 8) >> length) - 128]


def _density(row: Ints, column: Ints, begun: bool) -> Ints:
    """Class of the mean odds of row and column, flat; before a row has begun its column decides."""
    mean = (row[:, None] if begun else column) + column + np.zeros((len(row), 1), np.int64)
    return np.clip((mean + 192) >> 4, 0, _DENSE - 1).reshape(-1)


def _apart(row: Ints, column: Ints) -> Ints:
    """Context of early maps: both odds, each by itself."""
    return (9 * np.clip((row + 96) >> 4, 0, 8)[:, None] + np.clip((column + 96) >> 4, 0, 8)).reshape(-1)


def _neighbours(lengths: NDArray[np.uint8]) -> Ints:
    """Context of the first four neighbours' lengths: 0, 1, or more."""
    return _base3(np.minimum(lengths[:4], 2))


def _weighted(lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sum of the neighbours' lengths, of the first two twice: at most 224."""
    return np.asarray(lengths.sum(0, dtype=np.uint8) + lengths[:2].sum(0, dtype=np.uint8))


def _base3(digits: NDArray[np.uint8]) -> Ints:
    number = digits[0]
    for digit in digits[1:]:
        number = 3 * number + digit
    return number.astype(np.int64)


def _bit_length(values: Ints) -> Ints:
    """Exact for magnitudes up to 2^53: the exponent of a float64."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
