"""The file: everything needed to rebuild a network, and nothing else.

    magic "RFNT" | version u8 | header length u32 | header | one section a tensor | CRC-32 of all before it, u32

Integers are little-endian. The header is zlib-compressed JSON: a *card* that names the network and its data, and for
each tensor its name, shape, codec, decoder, weight bits, decoder floats and section length. A section is the decoder's
floats (float32) followed by the coded index map. Nothing in a file is ever executed or imported.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.codecs import CODECS, codec_for
from compress.symbols import DECODERS, Symbols

__all__ = ["Artifact", "ArtifactError", "decode", "decompress", "encode", "load", "load_into", "save"]

MAGIC, VERSION = b"RFNT", 1
_PREFIX = struct.Struct("<4sBI")
_HEADER_LIMIT = 1 << 26  # bytes of JSON; a network of 100,000 tensors needs less


class ArtifactError(ValueError):
    """A file that is no artifact, is damaged, or does not fit the network it is loaded into."""


@dataclass(frozen=True)
class Artifact:
    """A decoded file: its ``card``, its tensors, and its length in bytes."""

    card: Mapping[str, Any]
    tensors: Sequence[Symbols]
    size: int

    def state_dict(self) -> dict[str, Tensor]:
        """Hard weights by name, float32."""
        return {t.name: torch.from_numpy(t.weights()) for t in self.tensors}


def encode(card: Mapping[str, Any], tensors: Sequence[Symbols]) -> bytes:
    """The file's bytes. ``card`` is plain JSON data; every tensor of the network's state is one ``Symbols``."""
    rows, sections = [], []
    for tensor in tensors:
        floats = b"".join(np.asarray(v, dtype="<f4").tobytes() for v in tensor.floats.values())
        codec = codec_for(tensor.index)
        section = floats + CODECS[codec].encode(tensor.index.reshape(-1))
        counts = {name: int(np.size(v)) for name, v in tensor.floats.items()}
        row = [tensor.name, list(tensor.index.shape), codec, tensor.decoder, tensor.bits, counts, len(section)]
        rows.append(row)
        sections.append(section)
    header = zlib.compress(json.dumps({**card, "tensors": rows}, separators=(",", ":")).encode(), 9)
    body = b"".join([_PREFIX.pack(MAGIC, VERSION, len(header)), header, *sections])
    return body + struct.pack("<I", zlib.crc32(body))


def decode(data: bytes, max_elements: int = 2**28) -> Artifact:
    """The inverse of :func:`encode`; ArtifactError names the section at fault. No tensor over ``max_elements`` in all."""
    header, start = _header(data)
    try:
        rows = header.pop("tensors")
        tensors, total = [], 0
        for row in rows:
            total += math.prod(_shape(row))
            if total > max_elements:
                raise ArtifactError(f"section {row[0]!r}: {total} elements declared, at most {max_elements} allowed")
            tensors.append(_section(row, data[start : start + row[6]]))
            start += row[6]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ArtifactError(f"header: malformed tensor table ({error})") from error
    if start != len(data) - 4:
        raise ArtifactError(f"sections: end at byte {start}, the file's checksum begins at {len(data) - 4}")
    return Artifact(header, tensors, len(data))


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    if len(data) < _PREFIX.size + 4 or data[:4] != MAGIC:
        raise ArtifactError(f"magic: not an artifact (a file begins with {MAGIC!r}, this one with {data[:4]!r})")
    _, version, length = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise ArtifactError(f"version: {version}, this program reads {VERSION}")
    if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise ArtifactError("checksum: the file is damaged or cut off")
    end = _PREFIX.size + length
    if end > len(data) - 4:
        raise ArtifactError(f"header: {length} bytes declared, the file holds {len(data) - 4 - _PREFIX.size}")
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data[_PREFIX.size : end], _HEADER_LIMIT)
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ArtifactError(f"header: not compressed JSON ({error})") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"header: a JSON {type(header).__name__}, expected an object")
    return header, end


def _shape(row: Sequence[Any]) -> tuple[int, ...]:
    name, shape, length = row[0], row[1], row[6]
    numbers = [*shape, length, *row[5].values()]
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ArtifactError(f"section {name!r}: shape, counts and length must be whole numbers from 0")
    return tuple(shape)


def _section(row: Sequence[Any], data: bytes) -> Symbols:
    name, _, codec, decoder, bits, counts, length = row
    if len(data) != length:
        raise ArtifactError(f"section {name!r}: {length} bytes declared, {len(data)} left in the file")
    if codec not in CODECS or decoder not in DECODERS:
        raise ArtifactError(f"section {name!r}: unknown codec {codec!r} or decoder {decoder!r}")
    floats, at = {}, 0
    for key, count in counts.items():
        floats[str(key)] = np.frombuffer(data[at : at + 4 * count], dtype="<f4").astype(np.float32)
        at += 4 * count
    shape = _shape(row)
    try:
        index = CODECS[codec].decode(data[at:], math.prod(shape)).reshape(shape)
        tensor = Symbols(str(name), index, decoder, floats, float(bits))
        tensor.weights()  # floats that do not fit their decoder show here, not in the user's program
    except (ValueError, TypeError, OverflowError) as error:
        raise ArtifactError(f"section {name!r}: {error}") from error
    return tensor


def read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error


def save(path: str | os.PathLike[str], data: bytes) -> None:
    """Write atomically: a reader sees the whole file or none."""
    target = Path(path)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with open(fresh, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, target)


def decompress(path: str | os.PathLike[str], max_elements: int = 2**28) -> dict[str, Tensor]:
    """State dict of the network that :func:`load` builds, float32. ArtifactError for a file that does not decode."""
    return decode(read(path), max_elements).state_dict()


def load(path: str | os.PathLike[str], build: Callable[[Mapping[str, Any]], nn.Module]) -> nn.Module:
    """The network ready to run: ``build(card)`` makes it, the file's tensors fill it. ArtifactError where they differ."""
    artifact = decode(read(path))
    return load_into(build(artifact.card), artifact)


def load_into(network: nn.Module, artifact: Artifact) -> nn.Module:
    """Fill ``network`` with the artifact's weights and set it to evaluation."""
    try:
        network.load_state_dict(artifact.state_dict())
    except RuntimeError as error:
        raise ArtifactError(f"tensors do not fit the network: {str(error).splitlines()[-1].strip()}") from error
    return network.eval()
