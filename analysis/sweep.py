"""``sweep``: networks divided between a device and a server, tested over a channel as noisy as you like."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.commands import add_places
from analysis.studies import BadStudy, Point, pick
from analysis.tables import FORMATS, rendered

if TYPE_CHECKING:
    import pandas as pd

    from analysis.rebuild import Rebuilt

__all__ = ["add_sweep", "parse_psnrs", "swept"]

DONE = 0
_DEFAULT = "4:20:2"
_MOST = 100  # PSNRs
_RULE = f"must be dB as FROM:TO:STEP or one number after another with commas, {_MOST} at most, such as {_DEFAULT}"


def add_sweep(commands: Any) -> None:
    """``sweep STUDY [POINT]``."""
    command = commands.add_parser(
        "sweep",
        help="accuracy of divided networks over the noise of their channel",
        description="Accuracy on validation data, at fixed length, of networks that were trained for one PSNR and are tested at others.",
    )
    command.add_argument("study", metavar="STUDY", help="a study's folder, or its name")
    command.add_argument("point", metavar="POINT", nargs="?", help="one network, as verify names it; all where absent")
    command.add_argument(
        "--psnr", type=_psnrs, metavar="DB", default=_psnrs(_DEFAULT), help=f"FROM:TO:STEP, or a,b,c ({_DEFAULT})"
    )
    command.add_argument("--format", choices=FORMATS, default="table", help="table, csv or json (table)")
    command.add_argument("--png", type=Path, metavar="FILE", help="draw it, too")
    command.add_argument("--data-root", type=Path, metavar="DIR", help="where data sets lie (RATEFRONT_DATA)")
    add_places(command)
    command.set_defaults(run=_sweep)


def parse_psnrs(text: str) -> list[float]:
    """``4:20:2``, or ``4,12,20``, as dB; ValueError for what is neither."""
    parts = [float(part) for part in text.split(":")] if ":" in text else []
    if not parts:
        return [float(part) for part in text.split(",")]
    low, high, step = parts
    if not (step > 0 and 0 <= high - low <= step * _MOST):
        raise ValueError(text)
    return [low + n * step for n in range(math.floor((high - low) / step + 1e-9) + 1)]


def swept(points: Sequence[Point], study: Rebuilt, psnrs: Sequence[float]) -> pd.DataFrame:
    """A row a point: its name, codewords, the PSNR it is made for, and ``accuracy_at_<PSNR>``, in [0, 1], of each of ``psnrs``.

    BadStudy for a network without codebooks, or one that cannot be read or run.
    """
    import pandas as pd

    from compress.artifact import ArtifactError

    rows = []
    for point in points:
        try:
            rows.append(dict(_row(point, study, psnrs)))
        except ArtifactError as error:
            raise BadStudy(f"{point.name}: {error}") from error
    return pd.DataFrame(rows)


def _row(point: Point, study: Rebuilt, psnrs: Sequence[float]) -> Iterator[tuple[str, Any]]:
    import torch

    from compress.artifact import decode, read
    from compress.halves import working_codebook
    from tasks.evaluate import evaluate

    artifact = decode(read(point.file))
    if not artifact.card.get("codebooks"):
        raise BadStudy(f"{point.name}: a network of one piece; only those of method codebook send over a channel")
    network, part = study.network(artifact), study.part("validation", artifact, torch.device("cpu"))
    layer = working_codebook(network)
    yield from {"point": point.name, "codewords": layer.live, "trained": layer.link.PSNR}.items()
    for psnr in psnrs:
        layer.link = replace(layer.link, PSNR=psnr)
        yield f"accuracy_at_{psnr:g}", evaluate(network, part, study.task.spec.eval_batch_size)


def _sweep(arguments: argparse.Namespace) -> int:
    from analysis.lone import points_of
    from analysis.rebuild import rebuild
    from tasks import TaskError
    from tasks.downloads import data_root

    with points_of(arguments.study, arguments.results, arguments.tracking_uri, arguments.experiment) as points:
        if points is None:
            raise BadStudy(f"study = {arguments.study!r}: a file whose study is not found; --results says where it is")
        chosen = points if arguments.point is None else [pick(points, arguments.point)]
        try:
            study = rebuild(chosen[0].folder, data_root(arguments.data_root))
        except TaskError as error:
            raise BadStudy(str(error)) from error
        table = swept(chosen, study, arguments.psnr)
    heads = {
        name: name.replace("accuracy_at_", "") + " dB"
        for name in map(str, table.columns)
        if name.startswith("accuracy_at_")
    }
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(rendered(table, arguments.format, width, {**heads, "trained": "trained dB"}))
    if arguments.png is not None:
        _draw(table, arguments.psnr, arguments.png)
    return DONE


def _draw(table: pd.DataFrame, psnrs: Sequence[float], path: Path) -> None:
    from analysis.plots import draw_sweep

    accuracies = table.filter(like="accuracy_at_").to_numpy()
    try:
        draw_sweep(psnrs, dict(zip(table["point"], accuracies, strict=True)), path)
    except (OSError, ValueError) as error:
        raise BadStudy(f"png = {str(path)!r}: cannot be written ({str(error).splitlines()[0]})") from error


def _psnrs(text: str) -> list[float]:
    low, high = -50.0, 100.0  # as compress.channel has them, which would bring PyTorch
    try:
        found = parse_psnrs(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: {_RULE}") from error
    if not all(low <= psnr <= high for psnr in found) or len(found) > _MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: {_RULE}, from {low:g} to {high:g}")
    return list(dict.fromkeys(round(psnr, 3) for psnr in found))
