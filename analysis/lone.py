"""What ``verify`` is given: a study's folder, a study that only MLflow has, or one file that was taken out of a study."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from analysis.studies import ABOUT, FRONT, BadStudy, Point, open_study

__all__ = ["decoded", "points_of"]


@contextmanager
def points_of(study: str, results: Path, uri: str | None, experiment: str) -> Iterator[list[Point] | None]:
    """The points to check, while their files are there; None for a file whose study is not found.

    A study in a folder is read there, and from MLflow where no folder has its name. A file's study is looked for around
    it, under ``results``, and in MLflow. BadStudy for what is neither.
    """
    file = Path(os.path.expanduser(study))
    with tempfile.TemporaryDirectory(prefix="ratefront-") as folder:
        if os.path.isfile(file):
            yield _of_file(file.absolute(), results, uri, experiment, Path(folder))
        elif os.path.isdir(file) or os.path.isdir(results / study) or not (uri or (results / "mlflow.db").exists()):
            yield open_study(study, results)
        else:
            yield _of_record(study, results, uri, experiment, Path(folder))


def decoded(file: Path) -> str:
    """A file without a record: that it decodes, and into what; BadStudy where it does not."""
    from compress.artifact import ArtifactError, decode, read
    from tasks import TaskError, load

    try:
        artifact = decode(read(file))
        weights = sum(p.numel() for p in load(str(file)).parameters())
    except (ArtifactError, TaskError) as error:
        message = str(error)
        raise BadStudy(message if str(file) in message else f"{file}: {message}") from error
    card = artifact.card
    made = f"{card.get('method')} on {card.get('data')}, split {card.get('split')}"
    return (
        f"{file}: {artifact.size:,} bytes decode into {weights:,} parameters ({made}); "
        "no record of its study is found, so its accuracy is not compared; --results or --tracking-uri says where it is"
    )


def _of_file(file: Path, results: Path, uri: str | None, experiment: str, folder: Path) -> list[Point] | None:
    around = [file.parent.parent / FRONT, file.parent / FRONT, *sorted(results.glob(f"*/{FRONT}"))]
    for front in (path for path in around if path.exists() and path.with_name(ABOUT).exists()):
        if (point := _named(_readable(front.parent), file)) is not None:
            _laid(front.parent, point, file, folder)
            return [replace(point, folder=folder)]
    if uri or (results / "mlflow.db").exists():
        return _of_trial(file, results, uri, experiment, folder)
    return None


def _of_trial(file: Path, results: Path, uri: str | None, experiment: str, folder: Path) -> list[Point] | None:
    """By the trial in the file's name, whose run knows its study."""
    from analysis.server import Server, tracking_uri

    server = Server(tracking_uri(uri, results), experiment)
    for study in server.parents(file.stem.rpartition("-e")[0]):
        kept = {name: server.file(study, name) for name in (FRONT, ABOUT)}
        front, about = kept[FRONT], kept[ABOUT]
        if front and about and (point := _named(_readable(front.parent), file)) is not None:
            _laid(front.parent, point, file, folder)
            return [replace(point, folder=folder)]
    return None


def _of_record(study: str, results: Path, uri: str | None, experiment: str, folder: Path) -> list[Point]:
    """Everything that is to be checked, out of MLflow."""
    from analysis.server import Server, tracking_uri

    server = Server(tracking_uri(uri, results), experiment)
    found = server.study(study)
    for name in (FRONT, ABOUT):
        path = server.file(found, name)
        if path is None:
            raise BadStudy(f"study = {study!r}: its record has no {name}; the search has not ended")
        shutil.copy(path, folder / name)
    points = open_study(str(folder), results)
    for point in points:
        path = server.file(found, str(point.row["artifact"]))
        if path is not None:
            point.file.parent.mkdir(exist_ok=True)
            shutil.copy(path, point.file)
    return points


def _readable(folder: Path) -> Sequence[Point]:
    """The points of a folder that is looked through on the way; a damaged one is none."""
    try:
        return open_study(str(folder), folder)
    except BadStudy:
        return []


def _named(points: Sequence[Point], file: Path) -> Point | None:
    return next((point for point in points if point.file.name == file.name), None)


def _laid(source: Path, point: Point, file: Path, folder: Path) -> None:
    """A folder with the record and this file alone: what is checked is the file that was given."""
    shutil.copy(source / ABOUT, folder / ABOUT)
    (folder / FRONT).write_text(json.dumps([dict(point.row)]))
    (folder / "artifacts").mkdir()
    shutil.copy(file, folder / point.row["artifact"])
