"""How the tensors are stored that a method leaves alone: biases, norms, excluded layers.

float32 and float16 keep values; int8, int6 and int4 keep integers q = round(w / s), s = max|w| / (2^(b-1) - 1), symmetric, with
one step s an output channel (the first axis). Tensors of one axis steer whole channels: under an integer choice they have 8 bits
and one step each, and the statistics of batch norms, variances above all, are kept as float16. The file is decoded before
accuracy is measured, so that every rounding is in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.symbols import Symbols, raw

__all__ = ["STORES", "stored"]

_INTEGERS = {"int8": 8, "int6": 6, "int4": 4}
_VECTOR_BITS = 8
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
    if store in _INTEGERS and floats.ndim and floats.size and not name.endswith(_STATISTICS):
        return _integers(name, floats, _INTEGERS[store] if floats.ndim > 1 else _VECTOR_BITS)
    with np.errstate(over="ignore"):
        half = floats.astype(np.float16)
    return Symbols(name, half) if np.isfinite(half).all() else raw(name, floats)


def _integers(name: str, floats: NDArray[np.float32], bits: int) -> Symbols:
    largest = 2 ** (bits - 1) - 1
    channels = len(floats) if floats.ndim > 1 else 1
    step = np.abs(floats).reshape(channels, -1).max(1) / np.float32(largest)
    divisor = np.where(step > 0, step, 1).reshape((-1,) + (1,) * (floats.ndim - 1))
    index = np.clip(np.rint(floats / divisor), -largest, largest).astype(np.int32)
    return Symbols(name, index, "uniform", {"step": step.astype(np.float32)}, float(bits))
