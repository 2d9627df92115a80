"""Orthonormal transforms over the taps of a kernel: a row of the matrix a frequency, a column a tap, float32.

The decoder's side is plain sums in float32, in a fixed order, so that a file decodes alike wherever it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSFORMS", "from_frequencies"]

Floats = NDArray[np.float32]
_MOST_TAPS = 1024


def _dct(n: int) -> NDArray[np.float64]:
    """DCT-II, orthonormal."""
    rows = [[math.cos(math.pi * (2 * t + 1) * f / (2 * n)) for t in range(n)] for f in range(n)]
    return _unit(rows)


def _dft(n: int) -> NDArray[np.float64]:
    """The real DFT packed: constant, then cosine and sine of each frequency; for even n the alternating row last."""
    rows = [[1.0] * n]
    for f in range(1, (n + 1) // 2):
        rows.append([math.cos(2 * math.pi * f * t / n) for t in range(n)])
        rows.append([math.sin(2 * math.pi * f * t / n) for t in range(n)])
    if n % 2 == 0:
        rows.append([(-1.0) ** t for t in range(n)])
    return _unit(rows)


def _unit(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.array([[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows])


def _separable(line: Callable[[int], NDArray[np.float64]]) -> Callable[[Sequence[int]], Floats]:
    @cache
    def over(kernel: tuple[int, ...]) -> Floats:
        matrix: NDArray[Any] = np.ones((1, 1))
        for n in kernel:
            matrix = np.kron(matrix, line(n))
        return matrix.astype(np.float32)

    return lambda kernel: over(tuple(kernel))


TRANSFORMS: dict[str, Callable[[Sequence[int]], Floats]] = {
    "identity": _separable(lambda n: np.eye(n)),
    "dct": _separable(_dct),
    "dft": _separable(_dft),
}


def from_frequencies(name: str, coefficients: Floats) -> Floats:
    """Kernels (O, I, *taps) of coefficients (O, I, *frequencies)."""
    if math.prod(coefficients.shape[2:]) > _MOST_TAPS:
        raise ValueError(f"kernels of {coefficients.shape[2:]} taps, expected {_MOST_TAPS} at most")
    matrix = TRANSFORMS[name](coefficients.shape[2:])
    flat = coefficients.reshape(*coefficients.shape[:2], math.prod(coefficients.shape[2:]))
    taps = np.zeros_like(flat)
    for row, frequency in zip(matrix, np.moveaxis(flat, 2, 0), strict=True):
        taps += frequency[..., None] * row
    return taps.reshape(coefficients.shape)
