"""Ctrl-C: Ray Tune takes the first, saves its state and returns; a second ends the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says, after the block, whether Ctrl-C ended it.

    Ray Tune puts back the handler it found only when it has taken the signal itself. Outside the main thread there are
    no signals to take, and the answer is no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ours(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ours)
    seen: list[bool] = []
    try:
        yield lambda: seen[0]
    finally:
        seen.append(signal.getsignal(signal.SIGINT) is ours)
        signal.signal(signal.SIGINT, before)
