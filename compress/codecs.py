"""Codecs: pairs of inverse functions between integers and bytes.

The law every member obeys, and the test of each: ``decode(encode(x), x.size) == x``. A new codec is one pair and one
line of ``CODECS``.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.ranged import decode_range, encode_range, has_constriction

__all__ = ["CODECS", "Codec", "codec_for"]

Array = NDArray[np.generic]
# Symbols are one narrow integer each: no alignment to model (pb = 0) and two neighbours of context pay most.
_LZMA = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 0, "pb": 0}
_DICTIONARY = (
    1 << 12,
    1 << 24,
)  # bytes: the encoder's is as large as the tensor, since a large one costs time to clear
_WIDTHS = {1: "<i1", 2: "<i2", 4: "<i4"}


@dataclass(frozen=True)
class Codec:
    """``encode(flat array) -> bytes`` and ``decode(bytes, count) -> flat array``; ValueError for bytes that do not fit."""

    encode: Callable[[Array], bytes]
    decode: Callable[[bytes, int], Array]


def _encode_floats(values: Array) -> bytes:
    return values.astype("<f4").tobytes()


def _decode_floats(data: bytes, count: int) -> Array:
    if len(data) != 4 * count:
        raise ValueError(f"{len(data)} bytes for {count} floats, expected {4 * count}")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def _encode_halves(values: Array) -> bytes:
    return values.astype("<f2").tobytes()


def _decode_halves(data: bytes, count: int) -> Array:
    if len(data) != 2 * count:
        raise ValueError(f"{len(data)} bytes for {count} half floats, expected {2 * count}")
    return np.frombuffer(data, dtype="<f2").astype(np.float16)


def _encode_lzma(values: Array) -> bytes:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    width = next((w for w in _WIDTHS if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1)), 0)
    if not width:
        raise ValueError(f"integers from {low} to {high}, expected 32 bits at most")
    packed = values.astype(_WIDTHS[width]).tobytes()
    size = min(max(_DICTIONARY[0], 1 << len(packed).bit_length()), _DICTIONARY[1])
    return bytes([width]) + lzma.compress(packed, lzma.FORMAT_RAW, filters=[{**_LZMA, "dict_size": size}])


def _decode_lzma(data: bytes, count: int) -> Array:
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
    return np.frombuffer(packed, dtype=_WIDTHS[width]).astype(np.int32)


CODECS: dict[str, Codec] = {
    "float32": Codec(_encode_floats, _decode_floats),
    "float16": Codec(_encode_halves, _decode_halves),
    "lzma": Codec(_encode_lzma, _decode_lzma),
    "range": Codec(encode_range, decode_range),
}


def codec_for(index: Array) -> str:
    """Name of the codec that one index map is stored with."""
    if index.dtype.kind != "f":
        return "range" if has_constriction() else "lzma"
    return "float16" if index.dtype == np.float16 else "float32"
