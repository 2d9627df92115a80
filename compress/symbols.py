"""What a decoder receives for one tensor: an index map (integers) and the few floats that turn it into weights.

A decoder is one float32 expression over numpy arrays; it is the only source of the weights that are evaluated and
shipped. A new decoder is one function and one line of ``DECODERS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.transforms import from_frequencies

__all__ = ["CHANNELWISE", "DECODERS", "Symbols", "raw", "weight_bits"]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
CHANNELWISE = ("uniform", "deadzone")  # decoders whose floats may be one for each entry of the first axis


def _per_channel(values: Floats, like: NDArray[np.generic]) -> Floats:
    """Shape (1,) or (C,) -> broadcastable over a tensor whose first axis is the output channel."""
    if values.size != 1 and (not like.ndim or values.size != len(like)):
        raise ValueError(f"{values.size} floats for a tensor of shape {like.shape}, expected one or one a channel")
    if like.ndim and values.size != 1:
        return values.reshape(values.size, *[1] * (like.ndim - 1))
    return values.reshape(())


def _raw(index: NDArray[np.generic]) -> Floats:
    return index.astype(np.float32)


def _uniform(index: NDArray[np.generic], step: Floats) -> Floats:
    return index.astype(np.float32) * _per_channel(step, index)


def _deadzone(index: NDArray[np.generic], step: Floats, shift: Floats) -> Floats:
    q: Floats = index.astype(np.float32)
    return (q * _per_channel(step, q) + np.sign(q) * _per_channel(shift, q)).astype(np.float32, copy=False)


def _kernels(transform: str) -> Callable[..., Floats]:
    def decode(index: NDArray[np.generic], step: Floats) -> Floats:
        if index.ndim < 3 or step.size != math.prod(index.shape[2:]):
            raise ValueError(f"{step.size} steps for kernels of shape {index.shape[2:]}")
        return from_frequencies(transform, index.astype(np.float32) * step.reshape(index.shape[2:]))

    return decode


DECODERS: dict[str, Callable[..., Floats]] = {
    "raw": _raw,  # the index map is the tensor itself, float32 or float16
    "uniform": _uniform,  # w = step * q
    "deadzone": _deadzone,  # w = step * q + shift * sign(q)
    "identity": _kernels("identity"),  # kernels by tap: a step a tap
    "dct": _kernels("dct"),  # kernels by frequency: w = T' (step * q), a step a frequency
    "dft": _kernels("dft"),
}


@dataclass(frozen=True)
class Symbols:
    """One tensor as its decoder sees it.

    ``index`` has the tensor's shape: integers, or float32 or float16 for the decoder ``raw``. ``floats`` are the decoder's
    arguments by name, float32 of shape (1,) or (output channels,). ``bits`` is the width counted in BOPs. Where channels have
    left, ``rows`` and ``columns`` say which entries of the dense tensor's first and second axis are there.
    """

    name: str
    index: NDArray[np.generic]
    decoder: str = "raw"
    floats: Mapping[str, Floats] = field(default_factory=dict)
    bits: float = 32.0
    rows: Bools | None = None
    columns: Bools | None = None

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """Of the tensor in the dense network."""
        axes = [len(p) for p in (self.rows, self.columns) if p is not None]
        start = 0 if self.rows is not None else 1
        return (*self.index.shape[:start], *axes, *self.index.shape[start + len(axes) :]) if axes else self.index.shape

    def cut(self, rows: Bools | None, columns: Bools | None) -> Symbols:
        """A dense tensor without the other entries of its first two axes."""
        index, floats = self.index, dict(self.floats)
        if rows is not None:
            index = index[rows]
            if self.decoder in CHANNELWISE:
                floats = {n: v[rows] if v.size == len(rows) > 1 else v for n, v in floats.items()}
        index = index if columns is None else index[:, columns]
        return replace(self, index=np.ascontiguousarray(index), floats=floats, rows=rows, columns=columns)

    def dense(self) -> Floats:
        """Hard weights of the dense network's tensor, zeros where entries have left."""
        weights, whole = self.weights(), np.zeros(self.dense_shape, np.float32)
        if self.columns is None:
            whole[... if self.rows is None else self.rows] = weights
        else:
            rows = np.ones(whole.shape[0], bool) if self.rows is None else self.rows
            whole[np.ix_(rows, self.columns)] = weights
        return whole

    def nonzero(self) -> int:
        """Weights other than zero; of frequencies it is the taps that count."""
        return int(np.count_nonzero(self.weights() if self.decoder in ("dct", "dft") else self.index))

    def weights(self) -> Floats:
        """Hard weights, float32, from the decoder's own expression."""
        with np.errstate(all="ignore"):  # a file may hold any floats; infinity is what they then decode to
            return np.asarray(DECODERS[self.decoder](self.index, **self.floats), dtype=np.float32, order="C")


def raw(name: str, values: NDArray[np.generic]) -> Symbols:
    """A tensor that no method touches, stored as float32."""
    return Symbols(name, np.asarray(values, dtype=np.float32, order="C"))


def weight_bits(index: NDArray[np.integer[Any]]) -> float:
    """ceil(log2(2 max|q| + 1)): bits that hold every index of the map, 0 for a map of zeros alone."""
    return float(np.ceil(np.log2(2 * int(np.abs(index.astype(np.int64)).max(initial=0)) + 1)))
