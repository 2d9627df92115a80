"""A study as its folder holds it: the points of its front, and the task they are for. It is only read, without PyTorch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ABOUT", "FRONT", "BadStudy", "Origin", "Point", "open_study", "origin_of", "pick"]

FRONT = "front.json"
ABOUT = "study.yaml"
_FILE = re.compile(r"artifacts/[^/\\\x00]+\.rf")


class BadStudy(ValueError):
    """A study, point or flag that cannot be used; one line names the thing, its value and the rule."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


@dataclass(frozen=True)
class Point:
    """One member of a front. ``number`` counts from 1 in the order of front.json, ``row`` is its object there."""

    number: int
    folder: Path
    row: Mapping[str, Any]

    @property
    def file(self) -> Path:
        """The compressed network."""
        return self.folder / str(self.row["artifact"])

    @property
    def name(self) -> str:
        """The file's name without its ending: trial and epoch."""
        return self.file.stem

    def number_of(self, key: str) -> float:
        """A number of the row; BadStudy where it is none."""
        value = self.row.get(key)
        if not isinstance(value, (int, float)) or not abs(value) < 2**53:
            raise BadStudy(f"{self.folder / FRONT}: member {self.number}: {key} = {value!r}: must be a number")
        return float(value)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a study was made, of study.yaml: ``task`` as it was resolved, ``data`` as it was used, the split by name."""

    task: Mapping[str, Any]
    data: str
    split: str


def open_study(study: str, results: Path) -> list[Point]:
    """The front of a study by its folder, or by its name under ``results``; BadStudy where there is none."""
    folders = [folder for folder in (Path(os.path.expanduser(study)), results / study) if folder.is_dir()]
    if not folders:
        raise BadStudy(f"study = {study!r}: no such folder, nor under {results}{_known(results)}")
    folder = next((f for f in folders if (f / FRONT).exists()), folders[0])
    rows = _parsed(folder / FRONT)
    if not isinstance(rows, list) or not rows:
        raise BadStudy(f"{folder / FRONT}: must be a list of members, at least one")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not _FILE.fullmatch(str(row.get("artifact"))):
            raise BadStudy(f"{folder / FRONT}: member {number}: must be an object with artifact: artifacts/<name>.rf")
    return [Point(number, folder, row) for number, row in enumerate(rows, 1)]


def pick(points: Sequence[Point], word: str) -> Point:
    """A point by its number or its name; BadStudy names all that there are."""
    for point in points:
        if word in (str(point.number), point.name):
            return point
    names = ", ".join(point.name for point in points)
    raise BadStudy(f"point = {word!r}: must be a number from 1 to {len(points)}, or one of {names}")


def origin_of(folder: Path) -> Origin:
    """What study.yaml says of data and network; BadStudy where it does not."""
    path = folder / ABOUT
    about = _parsed(path)
    about = about if isinstance(about, Mapping) else {}
    resolved = about.get("resolved")
    task = resolved.get("task") if isinstance(resolved, Mapping) else None
    if not isinstance(task, Mapping):
        raise BadStudy(f"{path}: says nothing of resolved.task; the study never began")
    texts = {"data_used": about.get("data_used"), "split": about.get("split"), "resolved.task.data": task.get("data")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise BadStudy(f"{path}: {key} = {value!r}: must be a text")
    return Origin(task=task, data=str(about["data_used"]), split=str(about["split"]))


def _parsed(path: Path) -> Any:
    """A JSON or YAML file as plain data."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise BadStudy(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise BadStudy(f"{path}: is damaged ({error})") from error


def _known(results: Path) -> str:
    """The studies that are there."""
    names = sorted(path.parent.name for path in results.glob(f"*/{FRONT}"))
    return f"; valid: {', '.join(names)}" if names else ""
