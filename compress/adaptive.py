"""Chances learnt on the way, by encoder and decoder alike, from whole numbers alone.

A ``Mixture`` codes one kind of bit that is seen under several contexts c_1 ... c_T at once. With p0 the share of ones so far
and p_t their share under c_t, each as (ones + a·p0) / (all + a), the chance of a one is

    squash( stretch(p0) + Σ_t w_t (stretch(p_t) - stretch(p0)) ),   stretch(p) = ln(p / (1 - p)), squash its inverse,

and after each batch w_t += η Σ err · (stretch(p_t) - stretch(p0)) / max(n, 256): logistic mixing (Mahoney 2005, PAQ6-7), a
batch at a time, so that numpy does the work. Everything is fixed point: chances in 65536ths, stretched ones in 256ths,
weights in 65536ths; stretch and squash are tables. No rounding is left to a machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.ranged import Bits, Chances, Coder

__all__ = ["HALF", "Mixture", "Trees", "squash", "stretch"]

Ints = NDArray[np.int64]
ONE = 1 << 16
HALF = ONE // 2
_REACH = 2815  # 11 nats: what lies beyond is as good as certain
_LEAST = 256  # bits of a batch from which it moves the weights in full
_RATE = 1280  # 256 / η, η = 0.2
_PRIOR, _SHRINK = 16, 4  # bits that the given first chance, and p0 for a context, count for

_SQUASH = np.array([round(ONE / (1 + math.exp(-x / 256))) for x in range(-_REACH, _REACH + 1)], dtype=np.int64)
_CHANCES = np.clip(_SQUASH, 1, ONE - 1) / ONE
_STRETCH = np.array([round(256 * math.log((k + 0.5) / (4095.5 - k))) for k in range(4096)], dtype=np.int64)


def stretch(chance: Ints) -> Ints:
    """ln(p / (1 - p)) in 256ths, of chances in 65536ths."""
    return _STRETCH[chance >> 4]


def squash(logit: int) -> int:
    """The inverse, of one number."""
    return int(np.clip(_SQUASH[min(max(logit, -_REACH), _REACH) + _REACH], 1, ONE - 1))


class Mixture:
    """One kind of bit under several contexts, each a whole number below its entry of ``sizes``.

    ``weight``: of each context at first, in 65536ths. ``first``: the chance of a one before any was seen.
    """

    def __init__(self, sizes: Sequence[int], weight: int, first: int = HALF) -> None:
        self.seen = [np.zeros((2, n), np.int64) for n in sizes]  # all, and the ones of them
        self.weights = [weight] * len(sizes)
        self.ones, self.all, self.first = 0, 0, first

    def code(self, coder: Coder, bits: Bits | None, contexts: Sequence[Ints]) -> Bits:
        """Code bits through ``coder``; one context a bit in each of ``contexts``. Learns from them."""
        share = (self.ones * ONE + _PRIOR * self.first) // (self.all + _PRIOR)
        base = int(_STRETCH[share >> 4])
        moves = [_STRETCH[(((n << 16) + _SHRINK * share) // (m + _SHRINK)) >> 4] - base for m, n in self.seen]
        logit: Ints | int = base + _REACH
        for move, weight, context in zip(moves, self.weights, contexts, strict=True):
            logit = ((move * weight) >> 16)[context] + logit
        chances = _CHANCES.take(logit, mode="clip")
        bits = coder.code(bits, chances)
        self._learn(bits, chances, contexts, moves)
        return bits

    def _learn(self, bits: Bits, chances: Chances, contexts: Sequence[Ints], moves: Sequence[Ints]) -> None:
        slow = _RATE * max(len(bits), _LEAST)
        at = bits.nonzero()[0]
        for number, (seen, context, move) in enumerate(zip(self.seen, contexts, moves, strict=True)):
            size = seen.shape[1]
            ones = np.bincount(context[at], minlength=size)
            expected = np.bincount(context, chances, minlength=size)
            expected *= ONE  # whole numbers below 2^53: exact
            self.weights[number] += int(((ones << 16) - expected.astype(np.int64)) @ move) // slow
            seen[0] += np.bincount(context, minlength=size)
            seen[1] += ones
        self.ones, self.all = self.ones + len(at), self.all + len(bits)


class Trees:
    """Bits at nodes that know nothing of each other: (2 ones + 1) / (2 all + 2) (Krichevsky & Trofimov 1981)."""

    def __init__(self, nodes: int) -> None:
        self.seen = np.zeros((nodes, 2), np.int64)

    def code(self, coder: Coder, bits: Bits | None, nodes: Ints) -> Bits:
        """As :meth:`Mixture.code`, a node a bit."""
        chance = (2 * self.seen[:, 1] + 1) * ONE // (2 * self.seen.sum(1) + 2)
        bits = coder.code(bits, np.minimum(np.maximum(chance, 1), ONE - 1)[nodes] / ONE)
        self.seen += np.bincount(2 * nodes + bits, minlength=self.seen.size).reshape(self.seen.shape)
        return bits
