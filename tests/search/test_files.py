"""Files are whole or not there, and a full disk is one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from search.files import DiskFull, check_full, no_room, write_text

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_replaces_text(tmp_path):
    path = tmp_path / "front.json"
    for text in ("old", "Größe\n"):
        write_text(path, text)
    assert path.read_text(encoding="utf-8") == "Größe\n"
    assert [p.name for p in tmp_path.iterdir()] == ["front.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "front.json"
    write_text(path, "old")

    def full(descriptor):
        raise FULL

    monkeypatch.setattr("search.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["front.json"]


@pytest.mark.parametrize("error", [FULL, RuntimeError("worker: [Errno 28] No space left on device")])
def test_a_full_disk_is_found_however_deep(tmp_path, error):
    try:
        try:
            raise error
        except Exception as inner:
            raise ValueError("Ray could not go on") from inner
    except ValueError as outer:
        with pytest.raises(DiskFull, match="no space left on the disk; make room, then --resume") as caught:
            check_full(outer, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_error_on_a_full_disk_comes_from_it_whatever_it_says(tmp_path, monkeypatch):
    assert not no_room(tmp_path)
    assert not no_room(tmp_path / "absent")
    monkeypatch.setattr("search.files._LITTLE", 1 << 80)
    assert no_room(tmp_path)
    assert not no_room(Path("/proc")), "a mount that reports no sizes is not full"
    with pytest.raises(DiskFull):
        check_full(RuntimeError("file write failed"), tmp_path)


def test_other_errors_are_others(tmp_path):
    check_full(OSError(errno.EACCES, "Permission denied"), tmp_path)
