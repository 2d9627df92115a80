"""Ray's node process on this machine, the raylet: a search cannot go on without it, and is to end with one line.

Left alone, Ray ends this process some seconds later, wherever it is: while the dense network is trained, while trials run, while the
front is tested or its trials are repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil

__all__ = ["at_once", "outlived"]

_SECONDS = 0.1


@contextmanager
def outlived(gone: Callable[[], None]) -> Iterator[None]:
    """Call ``gone`` from a thread where the node of a Ray that this process began dies while the block runs."""
    over = threading.Event()
    raylets = _raylets()

    def watch() -> None:
        while not over.wait(_SECONDS):
            if any(process.poll() is not None for process in raylets) and not over.is_set():
                gone()
                return

    if raylets:
        threading.Thread(target=watch, name="ray-node", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def at_once() -> None:
    """Let Ray's shutdown end its processes without asking them first: those that do not hear SIGTERM cost it a second each.

    What they began ends with them: a node's agents would look for it, and for whom to tell of its end, for many seconds.
    """
    for processes in _processes().values():
        for info in processes:
            info.process.terminate = partial(_end, info.process)


def _end(process: Any) -> None:
    below = []
    with suppress(psutil.NoSuchProcess):
        if process.poll() is None:  # else its number may be another's by now
            below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in below:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _raylets() -> list[Any]:
    return [info.process for info in _processes().get("raylet", [])]


def _processes() -> Mapping[str, Any]:
    """What Ray began from here, by kind; nothing where it only joined a cluster."""
    from ray._private.worker import global_worker

    return getattr(global_worker.node, "all_processes", {})
