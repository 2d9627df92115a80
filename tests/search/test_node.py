"""Whoever stands for Ray's node dies, in the block or after it (a real raylet dies in ``test_kills``)."""

from __future__ import annotations

import signal
import subprocess
import threading
from types import SimpleNamespace

import psutil
import pytest

from search import node


@pytest.fixture
def process(monkeypatch):
    made = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(node, "_raylets", lambda: [made])
    yield made
    made.kill()
    made.wait()


def test_a_node_that_dies_is_told_of(process):
    gone = threading.Event()
    with node.outlived(gone.set):
        process.kill()
        assert gone.wait(10)


def test_a_node_that_ends_after_its_search_is_not(process):
    gone = threading.Event()
    with node.outlived(gone.set):
        (watch,) = [thread for thread in threading.enumerate() if thread.name == "ray-node"]
    process.kill()
    watch.join(10)
    assert not watch.is_alive()
    assert not gone.is_set()


def test_without_a_node_of_ours_nobody_watches():
    with node.outlived(pytest.fail):
        assert not [thread for thread in threading.enumerate() if thread.name == "ray-node"]


def test_rays_processes_are_ended_at_once_with_what_they_began(monkeypatch):
    began = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(began.stdout.readline()))
    monkeypatch.setattr(node, "_processes", lambda: {"raylet": [SimpleNamespace(process=began)]})
    node.at_once()
    began.terminate()
    assert began.wait(10) == -signal.SIGKILL
    child.wait(10)
    began.terminate()  # one that has ended is no error
    began.stdout.close()
