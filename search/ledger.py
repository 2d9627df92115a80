"""The study's ledger, ``ledger.jsonl``: what happened to it and to its trials, a line an event, on disk before anything else hears.

From it a resumed study knows its trials and its archive, and MLflow's record is delivered (``delivery``). Plain data.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["LEDGER", "Ledger", "entries", "mend"]

LEDGER = "ledger.jsonl"


def mend(path: Path) -> bool:
    """Cut off a last line that a kill left unfinished, so that the next starts a line of its own; True where one was."""
    if not path.exists():
        return False
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        whole = _last_newline(file, end)
        if whole < end:
            file.truncate(whole)
    return whole < end


def entries(path: Path, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Every whole line from the byte ``start`` on, with the byte behind it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            yield json.loads(line), start


class Ledger:
    """Appends. A disk that is full ends nothing: lines wait in memory, are told of once, and are written when there is room."""

    def __init__(self, path: Path, say: Callable[[str], None] = print) -> None:
        self.path, self.say = path, say
        self._waiting: list[bytes] = []
        self._told = False
        self._lock = threading.Lock()
        mend(path)

    def append(self, event: str, **facts: Any) -> None:
        """One line, with the milliseconds since 1970 as ``at``; it is on the disk when this returns."""
        entry = {"event": event, "at": int(time.time() * 1000), **facts}
        with self._lock:
            self._waiting.append(json.dumps(entry, default=_plain).encode() + b"\n")
            try:
                self._write(b"".join(self._waiting))
                self._waiting = []
            except OSError as error:
                if not self._told:
                    self.say(f"{self.path} cannot be written ({error.strerror}); what happens now waits in memory")
                self._told = True

    @property
    def behind(self) -> bool:
        """Whether lines wait for room."""
        return bool(self._waiting)

    def _write(self, data: bytes) -> None:
        """All of it or nothing."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            before = os.fstat(descriptor).st_size
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def _last_newline(file: Any, end: int) -> int:
    """The byte behind the last newline, 0 where there is none."""
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's; any mapping as a dictionary."""
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)
