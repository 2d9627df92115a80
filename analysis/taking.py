"""``export`` and ``register``: networks leave a study as files, or into MLflow's index of models. Flags; the work is elsewhere."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.commands import LIMITS, add_limits, add_places, picked
from analysis.studies import BadStudy, pick

if TYPE_CHECKING:
    from analysis.onnx_file import Wishes

__all__ = ["POINT", "add_export", "add_register"]

POINT = "number in front.json, from 1 and the most accurate first, or the name of its file without .rf"
FORMATS = ("artifact", "state-dict", "table", "onnx")
_STUDY = "a study's folder, its name, or its name in MLflow"
_MOST = 1 << 20  # numbers of an input
DONE, NOTHING = 0, 1


def add_export(commands: Any) -> None:
    """``export STUDY POINT``."""
    take = commands.add_parser(
        "export",
        help="write a point's file, its PyTorch state dict, a table of its tensors, its network as ONNX",
        description="In place of POINT the flags of pick may say which. An ONNX file takes a batch of any size, normalised as its "
        "metadata say; it is written where ONNX Runtime and PyTorch answer alike on 64 validation images, or on drawn inputs "
        "where there are none here.",
    )
    take.add_argument("study", metavar="STUDY", help=_STUDY)
    take.add_argument("point", metavar="POINT", nargs="?", help=POINT)
    add_limits(take)
    take.add_argument("--out", type=Path, metavar="DIR", help="where to (STUDY/exports/<the point's name>)")
    take.add_argument(
        "--format",
        choices=FORMATS,
        action="append",
        help="what alone is written, repeatable (artifact, state-dict, table)",
    )
    take.add_argument("--opset", type=int, metavar="N", help="of the ONNX file (PyTorch's own choice)")
    take.add_argument(
        "--input-shape", type=_shape, metavar="C,H,W", help="of the ONNX file's input (the network's own)"
    )
    take.add_argument("--data-root", type=Path, metavar="DIR", help="where data sets lie (RATEFRONT_DATA)")
    take.add_argument(
        "--half", choices=["device"], help="of a divided network the device's half alone, which runs by itself"
    )
    add_places(take)
    take.set_defaults(run=_export)


def add_register(commands: Any) -> None:
    """``register STUDY``."""
    command = commands.add_parser(
        "register",
        help="enter networks of a front into MLflow's index of models",
        description="Each becomes a version of one registered model, to be had by mlflow.pyfunc.load_model('models:/NAME/VERSION'): "
        "pictures in, a table of logits out, a column a class. What is there already is not entered again.",
    )
    command.add_argument("study", metavar="STUDY", help="a study's name, folder or MLflow run")
    command.add_argument("points", metavar="POINT", nargs="*", help=f"{POINT}; all where absent")
    command.add_argument("--name", metavar="MODEL", help="of the registered model (the study's)")
    add_places(command)
    command.set_defaults(run=_register)


def _export(arguments: argparse.Namespace) -> int:
    from analysis.export import Asked, export
    from analysis.lone import points_of

    point, out = _wanted(arguments), arguments.out
    if point is None:
        return NOTHING
    study, results = os.path.expanduser(arguments.study), arguments.results
    if os.path.isfile(study):
        raise BadStudy(f"study = {arguments.study!r}: must be a study, not a file")
    if out is None and not (os.path.isdir(study) or os.path.isdir(results / study)):
        out = Path("exports", Path(arguments.study).name)
    asked = Asked(
        half=arguments.half, **({"formats": arguments.format} if arguments.format else {}), onnx=_onnx(arguments)
    )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with points_of(arguments.study, results, arguments.tracking_uri, arguments.experiment) as points:
        print(export(pick(points or [], point), out, width, asked))
    return DONE


def _wanted(arguments: argparse.Namespace) -> str | None:
    """The point's number or name, given or picked; None where none keeps the limits."""
    limited = any(getattr(arguments, name) is not None and getattr(arguments, name) is not False for name in LIMITS)
    if limited == (arguments.point is not None):
        rule = "must be given, or one of --min-accuracy, --max-size, --max-gops and --knee, not both"
        raise BadStudy(f"point = {arguments.point!r}: {rule}")
    if not limited:
        return str(arguments.point)
    from analysis.choice import named

    choice = picked(arguments)
    if choice is None:
        return None
    print(f"{choice.line}\n")
    return named(choice.row)


def _onnx(arguments: argparse.Namespace) -> Wishes:
    from analysis.onnx_file import Wishes
    from tasks import TaskError
    from tasks.downloads import data_root

    if "onnx" not in (arguments.format or ()):
        for name in ("opset", "input_shape"):
            if getattr(arguments, name) is not None:
                raise BadStudy(f"--{name.replace('_', '-')}: goes with --format onnx")
        return Wishes()
    try:
        root = data_root(arguments.data_root)
    except TaskError as error:
        raise BadStudy(str(error)) from error
    return Wishes(opset=arguments.opset, input_shape=arguments.input_shape, data_root=root)


def _register(arguments: argparse.Namespace) -> int:
    from analysis.index import register
    from analysis.server import Server, tracking_uri

    uri = tracking_uri(arguments.tracking_uri, arguments.results, [arguments.study])
    server = Server(uri, arguments.experiment)
    for line in register(server, server.study(arguments.study), arguments.points, arguments.name):
        print(line, flush=True)
    return DONE


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(word.isdecimal() and len(word) < 6 and int(word) >= 1 for word in sizes):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be whole numbers from 1, such as 3,32,32")
    shape = tuple(int(word) for word in sizes)
    if math.prod(shape) > _MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be {_MOST:,} numbers at most")
    return shape
