"""A study's folder, taken before anything slow is imported: a killed start still says what it was."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

import yaml

__all__ = ["ARTIFACTS", "StudyError", "StudyFolder", "dated_name"]

ARTIFACTS = "artifacts"
_RECORD = ("mlflow.db", "mlartifacts")


class StudyError(ValueError):
    """A study that cannot begin: its name is taken, or its resources are not there."""


def dated_name(space: str) -> str:
    """A study's name where none is given: that of the space and the time."""
    return f"{Path(space).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _absolute(results: Path) -> Path:
    try:
        return results.expanduser().absolute()
    except RuntimeError as error:
        raise StudyError(f"results = {str(results)!r}: {error}") from error


class StudyFolder:
    """``results/<name>``, ours alone from the moment it is made; StudyError where it exists or cannot be written."""

    def __init__(self, results: Path, name: str, command: str) -> None:
        self.root, self.name, self.command = _absolute(results), name, command
        self.path = self.root / name
        self.began = time.strftime("%Y-%m-%d %H:%M:%S %z")
        self.kept = False
        if "/" in name or name in ("", ".", ".."):
            raise StudyError(f"name = {name!r}: must be a plain folder name")
        if name in _RECORD:
            raise StudyError(f"name = {name!r}: is where the record lies; choose another --name")
        self._new: list[Path] = []
        try:
            self._new = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
            self.path.mkdir(parents=True)
            self.study_yaml.write_text(yaml.safe_dump(self.head(), sort_keys=False, allow_unicode=True))
            (self.path / ARTIFACTS).mkdir()
        except FileExistsError as error:
            raise StudyError(f"name = {name!r}: {self.path} exists; choose another --name") from error
        except OSError as error:
            self.discard()
            raise StudyError(f"results = {str(self.root)!r}: cannot be written ({error.strerror})") from error

    @property
    def study_yaml(self) -> Path:
        """How the study was made."""
        return self.path / "study.yaml"

    def head(self) -> dict[str, str]:
        """What is known in the first second."""
        return {"command": self.command, "began": self.began}

    def keep(self) -> None:
        """The study began: from now on nothing is thrown away."""
        self.kept = True

    def discard(self) -> None:
        """Leave nothing behind of a study that never began."""
        if self.kept:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # a folder that holds something else stays
            for folder in self._new:
                folder.rmdir()
        self._new = []
