"""A study's folder, taken before anything slow is imported: a killed start still says what it was."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from search.files import write_text
from search.ledger import LEDGER, entries, mend

__all__ = ["ARTIFACTS", "StudyError", "StudyFolder", "dated_name", "unfinished"]

ARTIFACTS = "artifacts"
_RECORD = ("mlflow.db", "mlartifacts")


class StudyError(ValueError):
    """A study that cannot begin or go on: its name is taken, its resources are not there, it is another one."""


def dated_name(space: str) -> str:
    """A study's name where none is given: that of the space and the time."""
    return f"{Path(space).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def unfinished(results: Path, space: str) -> str | None:
    """The newest study of a space that has not ended, for ``--resume auto``."""
    found = []
    for path in _absolute(results).glob("*/study.yaml"):
        try:
            about = _read(path)
        except StudyError:  # a stranger's
            continue
        events = [entry for entry, _ in entries(path.parent / LEDGER) if entry["event"] in ("study", "front")]
        over = bool(events) and events[-1]["event"] == "front" and not events[-1]["interrupted"]
        if not over and about.get("space") == Path(space).stem:
            found.append((str(about.get("began")), path.parent.name))
    return max(found)[1] if found else None


class StudyFolder:
    """``results/<name>``, ours alone from the moment it is made; StudyError where it exists or cannot be written.

    ``resume``: the folder of a study that began before; StudyError where there is none, or where its search still runs.
    """

    def __init__(self, results: Path, name: str, command: str, resume: bool = False, space: str = "") -> None:
        self.root, self.name, self.command, self.space = _absolute(results), name, command, space
        self.path = self.root / name
        self.began = time.strftime("%Y-%m-%d %H:%M:%S %z")
        self.kept = self.resumed = resume
        self.previous: dict[str, Any] = {}
        self._new: list[Path] = []
        self._held: int | None = None
        if "/" in name or name in ("", ".", ".."):
            raise StudyError(f"name = {name!r}: must be a plain folder name")
        if name in _RECORD:
            raise StudyError(f"name = {name!r}: is where the record lies; choose another --name")
        try:
            self._open() if resume else self._make()
        except FileExistsError as error:
            rule = f"choose another --name, or --resume {name} to go on with it"
            raise StudyError(f"name = {name!r}: {self.path} exists; {rule}") from error
        except OSError as error:
            self.discard()
            raise StudyError(f"results = {str(self.root)!r}: cannot be written ({error.strerror})") from error

    def _make(self) -> None:
        self._new = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self.path.mkdir(parents=True)
        self._lock()
        write_text(self.study_yaml, yaml.safe_dump(self.head(), sort_keys=False, allow_unicode=True))
        (self.path / ARTIFACTS).mkdir()

    def _open(self) -> None:
        if not self.study_yaml.exists():
            raise StudyError(f"resume = {self.name!r}: there is no study in {self.path}")
        self.previous = _read(self.study_yaml)
        self._lock()
        for lock in self.path.glob("study.journal.lock*"):  # Optuna's, of a process that is gone: ours is held
            lock.unlink(missing_ok=True)
        mend(self.path / "study.journal")
        (self.path / ARTIFACTS).mkdir(exist_ok=True)

    def _lock(self) -> None:
        """For as long as this process lives; two searches in one folder would each undo the other's files."""
        import fcntl

        held = os.open(self.path / "study.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(held)
            raise StudyError(f"resume = {self.name!r}: its search still runs") from error
        except OSError:  # a file system without locks
            pass
        self._held = held

    @property
    def study_yaml(self) -> Path:
        """How the study was made."""
        return self.path / "study.yaml"

    def head(self) -> dict[str, Any]:
        """What is known in the first second; of a study that goes on, how it began and when it was resumed."""
        if not self.resumed:
            named = {"space": self.space} if self.space else {}
            return {**named, "command": self.command, "began": self.began}
        old = {name: self.previous.get(name, "") for name in ("command", "began")}
        return {**old, "resumed": [*self.previous.get("resumed", []), self.began]}

    def keep(self) -> None:
        """The study began: from now on nothing is thrown away."""
        self.kept = True

    def discard(self) -> None:
        """Leave nothing behind of a study that never began; let go of one that did."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
        if self.kept:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # a folder that holds something else stays
            for folder in self._new:
                folder.rmdir()
        self._new = []


def _absolute(results: Path) -> Path:
    try:
        return results.expanduser().absolute()
    except RuntimeError as error:
        raise StudyError(f"results = {str(results)!r}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    """A study.yaml; StudyError where it is none."""
    try:
        about = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(about, dict):
        raise StudyError(f"{path}: is no study")
    return about
