"""Files of a study: a kill or a full disk leaves the last good one. Nothing slow is imported here."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["DiskFull", "check_full", "no_room", "quiet_when_full", "write_text"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LITTLE = 1 << 16  # bytes: less than any checkpoint needs


class DiskFull(OSError):
    """There is no room for the study's files; what is there is whole."""


def write_text(path: Path, text: str) -> None:
    """Atomically: a reader sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(fresh, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def check_full(error: BaseException, folder: Path) -> None:
    """Raise DiskFull, in one line, where ``error`` comes from a disk that is full, however deep."""
    if _is_full(error) or no_room(folder):
        rule = f"make room, then --resume {folder.name} goes on from there"
        raise DiskFull(f"{folder}: no space left on the disk; {rule}") from error


def no_room(folder: Path) -> bool:
    """Whether the disk is full, whatever the error said that came of it."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < _LITTLE  # some mounts report no sizes at all


def quiet_when_full(folder: Path) -> None:
    """Ray's own words on a full disk, some hundred lines, are left out: the search ends with one."""
    for handler in logging.getLogger("ray").handlers:
        handler.addFilter(lambda record: not (record.exc_info and (_is_full(record.exc_info[1]) or no_room(folder))))


def _is_full(error: BaseException | None) -> bool:
    """However deep."""
    while error is not None:
        if getattr(error, "errno", None) in _FULL or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
