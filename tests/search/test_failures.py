"""What is said of a trial that crashed."""

from __future__ import annotations

import csv
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.failures import Failures, cause_of, hush

ROOT = Path(__file__).parents[2]
MEMORY = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1, ID: a8) was \
5.75GB used / 23.54GB limit (0.244103)
OOM kill reason: Memory usage exceeded threshold"""
CUDA = """ray.exceptions.RayTaskError(OutOfMemoryError)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
"""
CPU = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes. Error code 12\n"


@pytest.fixture
def crashed(tmp_path):
    """A trial whose error.txt holds failures, as far as callbacks look at one."""

    def make(*texts):
        path = tmp_path / "error.txt"
        path.write_text("".join(f"Failure # {n} (occurred at noon)\n{text}\n" for n, text in enumerate(texts, 1)))
        count = SimpleNamespace(num_failures=len(texts))
        return SimpleNamespace(trial_id="t1", error_file=str(path), run_metadata=count, max_failures=2)

    return make


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (MEMORY, "out of memory (5.75GB used / 23.54GB limit)"),
        (CUDA, "out of memory (torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB)"),
        (CPU, f"out of memory ({CPU.strip()})"),
        ("The actor died unexpectedly before finishing this task.\n\tpid: 3", "its process died"),
        (
            "The actor 72d is unavailable: The actor is temporarily unavailable: RpcError\n",
            "its process does not answer",
        ),
        ("Traceback ...\n  File x\nValueError: no such thing", "ValueError: no such thing"),
    ],
)
def test_the_cause_is_a_line(crashed, text, cause):
    assert cause_of(crashed("KeyError: an older one", text)) == cause


def test_a_crash_without_a_file_is_a_crash():
    assert cause_of(SimpleNamespace(error_file=None)) == "it crashed"


def test_a_trial_that_goes_on_is_told_of(crashed, tmp_path, capsys):
    failures = Failures(tmp_path, print)
    failures.on_trial_recover(1, [], crashed(MEMORY))
    said = "trial t1: out of memory (5.75GB used / 23.54GB limit); it goes on from its checkpoint (1 of 2 times)\n"
    assert capsys.readouterr().out == said
    assert not failures.full


def test_a_trial_that_fails_on_a_full_disk_ends_the_search(crashed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("search.failures.no_room", lambda folder: True)
    failures = Failures(tmp_path, print)
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray leaves its own behind
    try:
        with pytest.raises(KeyboardInterrupt):
            failures.on_trial_recover(1, [], crashed("file write failed"))
    finally:
        signal.signal(signal.SIGINT, found)
    assert failures.full
    failures.on_trial_recover(1, [], crashed("file write failed"))  # once is enough
    assert capsys.readouterr().out == ""


def test_pages_of_rays_are_left_out(caplog):
    hush()
    from ray._private.ray_logging import stdout_deduplicator

    pages = ["Raylet is terminated. Termination is unexpected", "Task f failed due to oom. There are infinite"]
    pages += ["The node with node id: 7d71 and address: 192.0.2.2 has been marked dead because\n\t(2) raylet", "news"]
    batch = {"lines": pages, "pid": "raylet", "ip": "1"}
    assert stdout_deduplicator.deduplicate(batch)[0]["lines"] == ["news"]
    record = logging.LogRecord("ray.tune", logging.ERROR, "", 1, "Trial task failed for trial t1", (), None)
    handlers = logging.getLogger("ray").handlers
    assert handlers
    assert not any(handler.filter(record) for handler in handlers)


@pytest.mark.slow
def test_a_search_without_memory_says_so_and_is_not_tried_for_ever(smoke_study, tmp_path):
    """Ray's own monitor ends whatever runs where a thousandth of the memory is in use; the dense network is there already."""
    words = ["--space", "smoke", "--trials", "1", "--epochs", "1", "--name", "study", "--results", str(tmp_path)]
    limits = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "50"}
    made = subprocess.run(
        [sys.executable, str(ROOT / "tuner.py"), *words],
        cwd=ROOT,
        env={**os.environ, **limits},
        text=True,
        capture_output=True,
    )
    assert made.returncode == 1
    (line,) = made.stderr.splitlines()
    out = made.stdout.splitlines()
    assert line == "ratefront: all 1 trials failed; trials.csv says why"
    assert any("failed, out of memory (" in said for said in out)
    assert not any("OOM kill" in said for said in out)
    with open(tmp_path / "study" / "trials.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["end"] == "failed"
    assert row["reason"].startswith("out of memory (")
    (error,) = (tmp_path / "study").glob("trial_*/error.txt")
    assert "(IP: 127.0.0.1" in error.read_text()  # nobody else reaches our Ray
