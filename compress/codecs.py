"""Codecs: pairs of inverse functions between index maps and bytes.

The law every member obeys, and the test of each: ``decode(encode(x), x.shape) == x``. A new codec is one pair and one
line of ``CODECS``.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.contexts import decode_map, encode_map
from compress.ranged import has_constriction
from compress.scans import named

__all__ = ["CODECS", "Codec", "codec_for", "model_of"]

Array = NDArray[np.generic]
Shape = tuple[int, ...]
# Symbols are one narrow integer each: no alignment to model (pb = 0) and two neighbours of context pay most.
_LZMA = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 0, "pb": 0}
_DICTIONARY = (
    1 << 12,
    1 << 24,
)  # bytes: the encoder's is as large as the tensor, since a large one costs time to clear
_FEW = 256  # integers: with so few a coder may cost more than it saves
_WIDTHS = {1: "<i1", 2: "<i2", 4: "<i4"}


@dataclass(frozen=True)
class Codec:
    """``encode(array) -> bytes`` and ``decode(bytes, shape) -> array``; ValueError for bytes that do not fit."""

    encode: Callable[[Array], bytes]
    decode: Callable[[bytes, Shape], Array]
    width: int | None = None  # bytes of each element, where that is fixed


def _plain(dtype: str, decoded: type[np.generic]) -> Codec:
    """Elements as they are, little-endian."""
    kind = np.dtype(dtype)

    def decode(data: bytes, shape: Shape) -> Array:
        if len(data) != kind.itemsize * math.prod(shape):
            raise ValueError(f"{len(data)} bytes for {math.prod(shape)} numbers of {kind.itemsize} bytes each")
        return np.frombuffer(data, dtype=kind).astype(decoded).reshape(shape)

    return Codec(lambda values: values.astype(kind).tobytes(), decode, kind.itemsize)


def _constant(value: float) -> Codec:
    """One float32 throughout, in no bytes."""

    def decode(data: bytes, shape: Shape) -> Array:
        if data:
            raise ValueError(f"{len(data)} bytes for a constant, expected none")
        return np.full(shape, value, np.float32)

    return Codec(lambda values: b"", decode, 0)


def _encode_lzma(values: Array) -> bytes:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    width = next((w for w in _WIDTHS if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1)), 0)
    if not width:
        raise ValueError(f"integers from {low} to {high}, expected 32 bits at most")
    packed = values.astype(_WIDTHS[width]).tobytes()
    size = min(max(_DICTIONARY[0], 1 << len(packed).bit_length()), _DICTIONARY[1])
    return bytes([width]) + lzma.compress(packed, lzma.FORMAT_RAW, filters=[{**_LZMA, "dict_size": size}])


def _decode_lzma(data: bytes, shape: Shape) -> Array:
    count = math.prod(shape)
    width = data[0] if data else 0
    if width not in _WIDTHS:
        raise ValueError(f"integer width {width}, expected 1, 2 or 4 bytes")
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{**_LZMA, "dict_size": _DICTIONARY[1]}])
    try:  # one byte more than declared is enough to see that there is too much
        packed = decoder.decompress(data[1:], max_length=count * width + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"not lzma data ({error})") from error
    if len(packed) != count * width or not decoder.eof or decoder.unused_data:
        raise ValueError(f"unpacks to other than {count} integers of {width} bytes and its own end")
    return np.frombuffer(packed, dtype=_WIDTHS[width]).astype(np.int32).reshape(shape)


CODECS: dict[str, Codec] = {
    "float32": _plain("<f4", np.float32),
    "float16": _plain("<f2", np.float16),
    "int8": _plain("<i1", np.int32),
    "zeros": _constant(0.0),
    "ones": _constant(1.0),
    "lzma": Codec(_encode_lzma, _decode_lzma),
    "context": Codec(encode_map, decode_map),
}


def codec_for(index: Array) -> str:
    """Name of the codec that one index map is stored with."""
    if index.dtype.kind != "f":
        codec = "context" if has_constriction() else "lzma"
        few = index.size <= _FEW and np.abs(index.astype(np.int64)).max(initial=0) < 128
        return "int8" if few and len(CODECS[codec].encode(index)) > index.size else codec
    for name, value in (("zeros", 0.0), ("ones", 1.0)):
        if (index == value).all() and not np.signbit(index).any():
            return name
    return "float16" if index.dtype == np.float16 else "float32"


def model_of(codec: str, data: bytes, shape: Shape) -> str:
    """What a section was coded with, in words."""
    if codec != "context":
        return codec
    if len(data) < 2:
        return "nothing but zeros"
    return f"context, {named(data[1], shape)}"
