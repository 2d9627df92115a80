"""Ctrl-C and its kin: Ray Tune takes the first, saves its state and returns; a second ends the program.

SIGTERM (a cluster's way to end a job) and SIGUSR1 (Slurm's warning) are the same as Ctrl-C. Whoever sends them often sends them
to every process there is: a shell to its process group, systemd to the whole service, Slurm to the job's step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["as_interrupts", "interruptible", "stop_search", "unheard"]

_KIN = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


def stop_search() -> None:
    """End the search that runs in this thread as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGINT)


@contextmanager
def unheard() -> Iterator[None]:
    """Processes begun in this block, and theirs, never hear SIGTERM and SIGUSR1: this one does, and still needs them to end well."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _KIN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def as_interrupts() -> Iterator[None]:
    """In this block SIGTERM and SIGUSR1 do what Ctrl-C does at that moment, whoever takes it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in _KIN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    """A program that a shell began in the background ignores Ctrl-C, but is not to ignore these."""
    if not callable(signal.getsignal(signal.SIGINT)):
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says, after the block, whether Ctrl-C or its kin ended it.

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
        with as_interrupts():
            yield lambda: seen[0]
    finally:
        seen.append(signal.getsignal(signal.SIGINT) is ours)
        signal.signal(signal.SIGINT, before)
