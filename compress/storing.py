"""How the tensors are stored that a method leaves alone: biases, norms, excluded layers.

float32 and float16 keep values; int8, int6 and int4 keep integers q = round(w / s), s = max|w| / (2^(b-1) - 1), symmetric, with
one step s an output channel (the first axis). Tensors of one number a channel steer whole channels: under an integer choice they
have 8 bits and one step each, and stay float16 where a few numbers dwarf the rest, and as statistics of batch norms. The file is decoded before
accuracy is measured, so that every rounding is in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.symbols import Symbols, raw

__all__ = ["STORES", "stored"]

_INTEGERS = {"int8": 8, "int6": 6, "int4": 4}
_VECTOR_BITS = 8
_UNEVEN = 12  # largest over median: beyond, a median value would err by 5 %
_STATISTICS = ("running_mean", "running_var")
STORES = ("float32", "float16", *_INTEGERS)


def stored(name: str, values: NDArray[np.generic], store: str) -> Symbols:
    """A tensor as ``store`` keeps it; integers, values that float16 cannot hold, or that are no numbers, stay float32."""
    if values.dtype.kind != "f":  # an index is not to be rounded
        return raw(name, values)
    floats = np.asarray(values, dtype=np.float32)
    constant = bool((floats == 0).all() or (floats == 1).all())  # takes no bytes
    if store == "float32" or constant or not np.isfinite(floats).all():
        return raw(name, floats)
    if store in _INTEGERS and floats.ndim > 1 and floats[0].size > 1:
        return _integers(name, floats, len(floats), _INTEGERS[store])
    if store in _INTEGERS and floats.size > 1 and _even(floats) and not name.endswith(_STATISTICS):
        return _integers(name, floats, 1, _VECTOR_BITS)
    with np.errstate(over="ignore"):
        half = floats.astype(np.float16)
    return Symbols(name, half) if np.isfinite(half).all() else raw(name, floats)


def _even(floats: NDArray[np.float32]) -> bool:
    """Whether one step does for all: the largest drowns none."""
    sizes = np.abs(floats[floats != 0])
    return bool(sizes.max() <= _UNEVEN * np.median(sizes))


def _integers(name: str, floats: NDArray[np.float32], steps: int, bits: int) -> Symbols:
    largest = 2 ** (bits - 1) - 1
    step = np.abs(floats).reshape(steps, -1).max(1) / np.float32(largest)
    divisor = np.where(step > 0, step, np.float32(1))  # a step may be too small for float32
    divisor = divisor.reshape(-1, *[1] * (floats.ndim - 1)) if steps > 1 else divisor
    index = np.clip(np.rint(floats / divisor), -largest, largest).astype(np.int32)
    return Symbols(name, index, "uniform", {"step": step.astype(np.float32)}, float(bits))
