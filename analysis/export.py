"""One point of a front, ready to be taken away: its file, a PyTorch state dict, and a table of where its bytes lie."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from analysis.rebuild import dense_network
from analysis.studies import BadStudy, Point
from analysis.tables import fitted
from compress.artifact import Artifact, ArtifactError, decode, read, save
from compress.shipping import device_file

__all__ = ["TensorRow", "export", "tensor_rows"]

_NUMBERS = range(2, 6)  # columns


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


def export(point: Point, out: Path | None, width: int | None, half: str | None = None) -> str:
    """Write the point's ``.rf``, ``.pt`` and ``.csv`` into ``out``; what is told of it, ``width`` characters wide (None: as it is).

    Where ``out`` is None they go into ``exports/<point>`` in the study's folder. ``half``: of a divided network that of the
    ``device`` alone, as ``<point>-device``. BadStudy for a file that does not decode and for a folder that cannot be written.
    """
    try:
        data = read(point.file)
        if half is not None:
            data = device_file(decode(data), dense_network(point.folder, decode(data).card))
        artifact = decode(data)
    except ArtifactError as error:
        message = str(error)
        raise BadStudy(message if str(point.file) in message else f"{point.file}: {message}") from error
    name = point.name if half is None else f"{point.name}-{half}"
    folder = point.folder / "exports" / name if out is None else out
    rows, state = tensor_rows(artifact), io.BytesIO()
    torch.save(artifact.state_dict(), state)
    files = {".rf": data, ".pt": state.getvalue(), ".csv": _csv(rows).encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in files.items():
            save(folder / f"{name}{ending}", content)
    except OSError as error:
        raise BadStudy(f"out = {str(folder)!r}: cannot be written ({error.strerror})") from error
    written = ["", *(f"{folder / name}{ending}" for ending in files)]
    return "\n".join(
        [*fitted(_cells(rows), width, _NUMBERS, ": the .csv has all"), "", *_totals(artifact, rows), *written]
    )


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
