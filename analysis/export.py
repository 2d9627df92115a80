"""One point of a front, ready to be taken away: its file, a PyTorch state dict, a table of where its bytes lie, an ONNX file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from analysis.onnx_file import Wishes, onnx_file
from analysis.rebuild import dense_network
from analysis.studies import BadStudy, Point
from analysis.tables import fitted
from compress.artifact import Artifact, ArtifactError, decode, read, save
from compress.shipping import device_file

__all__ = ["Asked", "TensorRow", "export", "tensor_rows"]

_NUMBERS = range(2, 6)  # columns
_ENDINGS = {"artifact": ".rf", "state-dict": ".pt", "table": ".csv", "onnx": ".onnx"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``half``: of a divided network that of the ``device`` alone; ``formats``: what is written; ``onnx``: how, if that is among them."""

    half: str | None = None
    formats: Sequence[str] = ("artifact", "state-dict", "table")
    onnx: Wishes = field(default_factory=Wishes)


@dataclass(frozen=True, kw_only=True)
class TensorRow:
    """One tensor of a file: ``bytes`` of its section, ``sparsity`` the share of zeros, ``levels`` distinct indices.

    ``levels`` is None where the tensor is kept as floats.
    """

    name: str
    shape: str
    bytes: int
    bits_per_weight: float
    sparsity: float
    levels: int | None
    decoder: str
    codec: str


def tensor_rows(artifact: Artifact) -> list[TensorRow]:
    """In the order of the file."""
    rows = []
    for tensor, section in zip(artifact.tensors, artifact.sections, strict=True):
        index, told = tensor.index, section.codec in section.model
        count = max(index.size, 1)
        rows.append(
            TensorRow(
                name=tensor.name,
                shape="x".join(map(str, index.shape)) or "scalar",
                bytes=section.size,
                bits_per_weight=8 * section.size / count,
                sparsity=1 - np.count_nonzero(index) / count if index.size else 0.0,
                levels=None if tensor.decoder == "raw" else len(np.unique(index)),
                decoder=tensor.decoder,
                codec=section.model if told else f"{section.codec}, {section.model}",
            )
        )
    return rows


def export(point: Point, out: Path | None, width: int | None, asked: Asked | None = None) -> str:
    """Write the point into ``out``; what is told of it, ``width`` characters wide (None: as it is).

    Where ``out`` is None it goes into ``exports/<point>`` in the study's folder, a device's half as ``<point>-device``.
    BadStudy for a file that does not decode, a folder that cannot be written, and a network that ONNX does not give again.
    """
    asked = asked or Asked()
    name = point.name if asked.half is None else f"{point.name}-{asked.half}"
    folder = point.folder / "exports" / name if out is None else out
    try:
        data = _bytes(point, asked.half)
        artifact = decode(data)
        rows, (files, notes) = tensor_rows(artifact), _contents(point, data, asked)
    except ArtifactError as error:
        message = str(error)
        raise BadStudy(message if str(point.file) in message else f"{point.file}: {message}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in files.items():
            save(folder / f"{name}{ending}", content)
    except OSError as error:
        raise BadStudy(f"out = {str(folder)!r}: cannot be written ({error.strerror})") from error
    written = ["", *(f"{folder / name}{ending}" for ending in files)]
    table = fitted(
        _cells(rows), width, _NUMBERS, ": --format table has all" if ".csv" not in files else ": the .csv has all"
    )
    return "\n".join([*table, "", *_totals(artifact, rows), *notes, *written])


def _bytes(point: Point, half: str | None) -> bytes:
    """The point's file, or that of its half."""
    data = read(point.file)
    if half is None:
        return data
    artifact = decode(data)
    return device_file(artifact, dense_network(point.folder, artifact.card))


def _contents(point: Point, data: bytes, asked: Asked) -> tuple[dict[str, bytes], list[str]]:
    """By ending what is written, and what is said of it."""
    artifact, notes, found = decode(data), [], {}
    for name in dict.fromkeys(asked.formats):
        if name == "artifact":
            content = data
        elif name == "state-dict":
            state = io.BytesIO()
            torch.save(artifact.state_dict(), state)
            content = state.getvalue()
        elif name == "table":
            content = _csv(tensor_rows(artifact)).encode()
        else:
            made = onnx_file(point, artifact, asked.onnx)
            content, notes = made.data, [f"onnx      {len(made.data):>11,} bytes, {made.about}"]
        found[_ENDINGS[name]] = content
    return found, notes


def _cells(rows: Sequence[TensorRow]) -> list[list[str]]:
    cells = [["tensor", "shape", "bytes", "bits/w", "zeros", "levels", "decoder", "codec"]]
    for r in rows:
        numbers = [f"{r.bytes:,}", f"{r.bits_per_weight:.3f}", f"{r.sparsity:.1%}"]
        cells.append([r.name, r.shape, *numbers, "-" if r.levels is None else f"{r.levels:,}", r.decoder, r.codec])
    return cells


def _totals(artifact: Artifact, rows: Sequence[TensorRow]) -> list[str]:
    sections, tensors = sum(row.bytes for row in rows), f"{len(rows)} tensor{'s' if len(rows) != 1 else ''}"
    weights = artifact.card.get("original_weights")
    known = weights if isinstance(weights, int) and weights > 0 else None
    rate = f", {8 * artifact.size / known:.3f} bits a weight of {known:,}" if known else ""
    return [
        f"sections  {sections:>11,} bytes, {tensors}",
        f"header    {artifact.size - sections:>11,} bytes, checksum included",
        f"file      {artifact.size:>11,} bytes{rate}",
    ]


def _csv(rows: Sequence[TensorRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(TensorRow)])
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()
