"""The file: everything needed to rebuild a network, and nothing else.

    magic "RFNT" | version u8 | header length u32 | header | one section a tensor | CRC-32 of all before it, u32

Integers are little-endian. The header (``header``) is a *card* that names the network and its data, and a table of the tensors.
A section is the decoder's floats (float32) followed by the coded index map. Nothing in a file is ever executed or imported.
"""

from __future__ import annotations

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

from compress.codebooks import extend
from compress.codecs import CODECS, codec_for, model_of
from compress.halves import DeviceHalf, device_half, is_half
from compress.header import ArtifactError, Row, pack, unpack
from compress.shrink import shrink
from compress.symbols import CHANNELWISE, Symbols

__all__ = ["Artifact", "ArtifactError", "Section", "decode", "decompress", "encode", "load", "save"]

MAGIC, VERSION = b"RFNT", 2
_PREFIX = struct.Struct("<4sBI")


@dataclass(frozen=True)
class Section:
    """How one tensor lies in a file: ``size`` in bytes, decoder floats included, and the ``model`` it was coded with."""

    name: str
    codec: str
    model: str
    size: int


@dataclass(frozen=True)
class Artifact:
    """A decoded file: its ``card``, its tensors with their sections, and its length in bytes."""

    card: Mapping[str, Any]
    tensors: Sequence[Symbols]
    size: int
    sections: Sequence[Section] = ()

    def state_dict(self) -> dict[str, Tensor]:
        """Hard weights by name, float32, of the network that :func:`load` builds: what has left it is not there."""
        held = [t for t in self.tensors if t.index.size or not np.prod(t.dense_shape)]
        return {t.name: torch.from_numpy(t.weights()) for t in held}

    def dense_state_dict(self) -> dict[str, Tensor]:
        """Hard weights of the dense network, zeros where channels have left."""
        return {t.name: torch.from_numpy(t.dense()) for t in self.tensors}


def encode(card: Mapping[str, Any], tensors: Sequence[Symbols]) -> bytes:
    """The file's bytes. ``card`` is plain JSON data; every tensor of the network's state is one ``Symbols``."""
    rows, sections = [], []
    for tensor in tensors:
        floats = b"".join(np.asarray(v, dtype="<f4").tobytes() for v in tensor.floats.values())
        codec = codec_for(tensor.index)
        section = floats + CODECS[codec].encode(tensor.index)
        counts = {name: _dense_count(tensor, int(np.size(v))) for name, v in tensor.floats.items()}
        shape, cuts = tuple(tensor.dense_shape), (tensor.rows, tensor.columns)
        rows.append(Row(tensor.name, shape, codec, tensor.decoder, tensor.bits, counts, len(section), *cuts))
        sections.append(section)
    header = pack(card, rows)
    body = b"".join([_PREFIX.pack(MAGIC, VERSION, len(header)), header, *sections])
    return body + struct.pack("<I", zlib.crc32(body))


def _dense_count(tensor: Symbols, count: int) -> int:
    """Floats that the dense tensor would have: of one a channel."""
    cut = tensor.rows is not None and tensor.decoder in CHANNELWISE and count == len(tensor.index) != 1
    return tensor.dense_shape[0] if cut else count


def decode(data: bytes, max_elements: int = 2**28) -> Artifact:
    """The inverse of :func:`encode`; ArtifactError names the section at fault. No tensor over ``max_elements`` in all."""
    card, rows, start = _open(data)
    tensors, sections, total = [], [], 0
    for row in rows:
        total += row.elements
        if total > max_elements:
            raise ArtifactError(f"section {row.name!r}: {total} elements declared, at most {max_elements} allowed")
        tensor, section = _section(row, data[start : min(start + row.length, len(data) - 4)])
        tensors.append(tensor)
        sections.append(section)
        start += row.length
    if start != len(data) - 4:
        raise ArtifactError(f"sections: end at byte {start}, the file's checksum begins at {len(data) - 4}")
    return Artifact(card, tensors, len(data), sections)


def _open(data: bytes) -> tuple[dict[str, Any], list[Row], int]:
    """(card, rows, where the sections begin)."""
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
    return *unpack(data[_PREFIX.size : end]), end


def _section(row: Row, data: bytes) -> tuple[Symbols, Section]:
    """Decode one tensor."""
    if len(data) != row.length or 4 * sum(map(row.count, row.floats)) > row.length:
        raise ArtifactError(f"section {row.name!r}: {row.length} bytes declared, {len(data)} left in the file")
    floats, at = {}, 0
    for key in row.floats:
        floats[key] = np.frombuffer(data, dtype="<f4", count=row.count(key), offset=at).astype(np.float32)
        at += 4 * row.count(key)
    try:
        index = CODECS[row.codec].decode(data[at:], row.held)
        tensor = Symbols(row.name, index, row.decoder, floats, row.bits, row.rows, row.columns)
        fits = tensor.weights().shape == row.held and (index.dtype.kind == "f") == (row.decoder == "raw")
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"section {row.name!r}: {error}") from error
    if not fits:
        raise ArtifactError(f"section {row.name!r}: index map and floats do not fit the decoder {row.decoder!r}")
    return tensor, Section(row.name, row.codec, model_of(row.codec, data[at:], row.held), row.length)


def read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a zero byte in the name
        raise ArtifactError(f"{os.fspath(path)!r}: cannot be read ({error})") from error


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
    """The network ready to run: ``build(card)`` makes it, the file's tensors fill it. ArtifactError where they differ.

    Shapes are compared before anything is made: ``build`` is called once on PyTorch's meta device, where numbers take no memory.
    """
    data = read(path)
    card, rows, _ = _open(data)
    _fits(build, card, rows)
    return load_into(build(card), decode(data))


def _fits(build: Callable[[Mapping[str, Any]], nn.Module], card: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """ArtifactError unless the network has the tensors of the file's table."""
    try:
        with torch.device("meta"):
            state = extend(build(card), card, {row.name: row.shape for row in rows}).state_dict()
    except (
        Exception
    ):  # a factory that computes with its weights; what else is wrong is said when it is called in earnest
        return
    found = {row.name: row.shape for row in rows}
    kept = [n for n in state if not n.endswith("num_batches_tracked") and (n in found or not is_half(card))]
    wanted = {name: tuple(state[name].shape) for name in kept}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise ArtifactError(f"section {name!r}: shape {found.get(name)}, the network has {wanted.get(name)}")


def load_into(network: nn.Module, artifact: Artifact) -> nn.Module:
    """Fill ``network`` with the artifact's weights and set it to evaluation; a smaller one where channels have left.

    Codebooks that the card names are inserted first. Of a file that holds the device's half alone, only that half is left.
    """
    try:
        extend(network, artifact.card, {t.name: t.dense_shape for t in artifact.tensors})
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    half, input_shape = is_half(artifact.card), artifact.card.get("input_shape", ())
    try:
        network.load_state_dict(artifact.dense_state_dict(), strict=not half)
    except RuntimeError as error:
        raise ArtifactError(f"tensors do not fit the network: {str(error).splitlines()[-1].strip()}") from error
    whole = all(t.rows is None and t.columns is None for t in artifact.tensors)
    if whole and not half:
        return network.eval()
    smaller = network.eval() if whole else shrink(network.eval(), input_shape, fold=False)
    smaller = _halved(smaller, input_shape) if half else smaller
    wanted = {n: tuple(v.shape) for n, v in artifact.state_dict().items()}
    found = {n: tuple(v.shape) for n, v in smaller.state_dict().items() if not n.endswith("num_batches_tracked")}
    if wanted != found:
        names = [n for n in {**wanted, **found} if wanted.get(n) != found.get(n)]
        raise ArtifactError(f"section {names[0]!r}: channels have left that this network cannot do without")
    return DeviceHalf(smaller).eval() if half else smaller


def _halved(network: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    try:
        return device_half(network, input_shape).network
    except (RuntimeError, TypeError, ValueError) as error:
        raise ArtifactError(f"card: its half cannot be taken ({str(error).splitlines()[0]})") from error
