"""Ray's node process on this machine, the raylet: a search cannot go on without it, and is to end with one line.

Left alone, Ray ends this process some seconds later, wherever it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["outlived"]

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


def _raylets() -> list[Any]:
    """Processes that Ray began from here; none where it only joined a cluster."""
    from ray._private.worker import global_worker

    processes = getattr(global_worker.node, "all_processes", {})
    return [info.process for info in processes.get("raylet", [])]
