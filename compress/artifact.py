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
    table = header.pop("tensors", None)
    if not isinstance(table, list):
        raise ArtifactError(f"header: tensors is a {type(table).__name__}, expected a table")
    rows = [_Row.parse(row) for row in table]
    if len({row.name for row in rows}) < len(rows):
        raise ArtifactError("header: two tensors of one name")
    tensors, total = [], 0
    for row in rows:
        total += math.prod(row.shape)
        if total > max_elements:
            raise ArtifactError(f"section {row.name!r}: {total} elements declared, at most {max_elements} allowed")
        tensors.append(row.tensor(data[start : start + row.length]))
        start += row.length
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
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("the stream does not end where it should")
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ArtifactError(f"header: not compressed JSON ({error})") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"header: a JSON {type(header).__name__}, expected an object")
    return header, end


@dataclass(frozen=True)
class _Row:
    """One line of the header's table."""

    name: str
    shape: tuple[int, ...]
    codec: str
    decoder: str
    bits: float
    floats: Mapping[str, int]
    length: int

    @classmethod
    def parse(cls, row: Any) -> _Row:
        """ArtifactError unless every column is of its kind."""
        if not isinstance(row, list) or len(row) != 7:
            raise ArtifactError("header: malformed tensor table, a row has seven columns")
        name, shape, codec, decoder, bits, floats, length = row
        if not isinstance(name, str) or not isinstance(shape, list) or not isinstance(floats, dict):
            raise ArtifactError(f"header: malformed row {str(name)[:40]!r} of the tensor table")
        if not all(type(n) is int and n >= 0 for n in [*shape, length, *floats.values()]) or len(shape) > 32:
            raise ArtifactError(f"section {name!r}: shape, counts and length must be whole numbers from 0")
        if not (isinstance(codec, str) and codec in CODECS and isinstance(decoder, str) and decoder in DECODERS):
            raise ArtifactError(f"section {name!r}: unknown codec {str(codec)[:20]!r} or decoder {str(decoder)[:20]!r}")
        if type(bits) not in (int, float) or not 0 <= bits <= 64:
            raise ArtifactError(f"section {name!r}: weight bits must be a number from 0 to 64")
        return cls(name, tuple(shape), codec, decoder, float(bits), floats, length)

    def tensor(self, data: bytes) -> Symbols:
        """Decode the section's bytes."""
        if len(data) != self.length or 4 * sum(self.floats.values()) > self.length:
            raise ArtifactError(f"section {self.name!r}: {self.length} bytes declared, {len(data)} left in the file")
        floats, at = {}, 0
        for key, count in self.floats.items():
            floats[key] = np.frombuffer(data, dtype="<f4", count=count, offset=at).astype(np.float32)
            at += 4 * count
        try:
            index = CODECS[self.codec].decode(data[at:], math.prod(self.shape)).reshape(self.shape)
            tensor = Symbols(self.name, index, self.decoder, floats, self.bits)
            fits = tensor.weights().shape == self.shape and (index.dtype.kind == "f") == (self.decoder == "raw")
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"section {self.name!r}: {error}") from error
        if not fits:
            raise ArtifactError(f"section {self.name!r}: index map and floats do not fit the decoder {self.decoder!r}")
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
    try:
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


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
