"""The ledger: whole lines alone, whatever a kill or a full disk leaves."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from search.ledger import Ledger, entries, mend


@pytest.fixture
def said():
    return []


@pytest.fixture
def ledger(tmp_path, said):
    return Ledger(tmp_path / "ledger.jsonl", said.append)


def numbers(ledger):
    return [entry["number"] for entry, _ in entries(ledger.path)]


def test_what_was_appended_is_read_with_the_byte_behind_it(ledger):
    for number in range(3):
        ledger.append("line", number=number)
    read = list(entries(ledger.path))
    assert numbers(ledger) == [0, 1, 2]
    assert read[-1][1] == ledger.path.stat().st_size
    assert [entry["number"] for entry, _ in entries(ledger.path, read[0][1])] == [1, 2]
    assert all(entry["at"] > 1.7e12 for entry, _ in read)


def test_a_ledger_that_is_not_there_is_empty(tmp_path):
    assert list(entries(tmp_path / "none")) == []


def test_a_line_that_a_kill_cut_off_is_not_read_and_leaves_with_the_next_process(ledger, said):
    ledger.append("line", number=0)
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "li')
    assert numbers(ledger) == [0]
    again = Ledger(ledger.path, said.append)
    again.append("line", number=1)
    assert numbers(again) == [0, 1]


@pytest.mark.parametrize(
    ("text", "whole"),
    [(b"", b""), (b"torn", b""), (b"a\ntorn", b"a\n"), (b"a\n" + b"x" * 200_000, b"a\n"), (b"a\n", b"a\n")],
)
def test_mending(tmp_path, text, whole):
    path = tmp_path / "file"
    path.write_bytes(text)
    assert mend(path) == (text != whole)
    assert path.read_bytes() == whole


def test_numbers_of_numpy_and_nan_come_back(ledger):
    ledger.append("line", number=np.float32(0.5), count=np.int64(3), lost=float("nan"))
    ((entry, _),) = entries(ledger.path)
    assert (entry["number"], entry["count"]) == (0.5, 3)
    assert entry["lost"] != entry["lost"]


def test_a_full_disk_ends_nothing_is_said_once_and_loses_nothing(ledger, said, monkeypatch):
    ledger.append("line", number=0)
    write = os.write

    def full(descriptor, data):
        if len(data) > 4:
            write(descriptor, data[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("search.ledger.os.write", full)
        ledger.append("line", number=1)
        ledger.append("line", number=2)
    assert said == [f"{ledger.path} cannot be written (No space left on device); what happens now waits in memory"]
    assert numbers(ledger) == [0]
    assert ledger.path.read_bytes().endswith(b"\n")
    ledger.append("line", number=3)
    assert numbers(ledger) == [0, 1, 2, 3]
