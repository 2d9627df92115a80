"""Progress as plain lines: trials, epochs, front, hypervolume, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.archive import Archive
from search.clock import Clock

__all__ = ["Progress", "duration", "speaker"]

_QUIET_SECONDS = 30.0


def speaker(quiet: bool, stream: TextIO | None = None) -> Callable[[str], None]:
    """A function that prints a line, or nothing."""

    def say(line: str) -> None:
        if not quiet:
            with suppress(OSError):  # a closed pipe or terminal does not end a search
                print(line, file=stream or sys.stdout, flush=True)

    return say


def duration(seconds: float) -> str:
    """``45 s``, ``7 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min"


class Progress(Callback):
    """A line when a trial ends, when the front grew, and every half minute."""

    def __init__(self, archive: Archive, clock: Clock, trials: int, say: Callable[[str], None]) -> None:
        self.archive, self.clock, self.trials, self.say = archive, clock, trials, say
        self._printed = 0.0
        self._first: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "say": print}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Throttled."""
        if self._first is None or time.time() - self._printed > _QUIET_SECONDS:
            self._first = self._first or time.time()
            self.line(trials)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Always."""
        self.line(trials)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Always, with where to read why."""
        self.say(f"trial {trial.trial_id} failed; its error is in {trial.path}/error.txt")
        self.line(trials)

    def line(self, trials: list[Trial]) -> None:
        """The state of the search in one line."""
        self._printed = time.time()
        rows = list(self.archive.trials.values())
        ended = {end: sum(row["end"] == end for row in rows) for end in ("done", "stopped", "failed", "running")}
        epochs, budget = sum(row["epoch"] for row in rows), self.trials * self.archive.epochs
        parts = [f"{ended['done']}/{self.trials} trials done", f"{ended['running']} running"]
        parts += [f"{ended[end]} {end}" for end in ("stopped", "failed") if ended[end]]
        parts += [f"epoch {epochs}/{budget}", f"front {len(self.archive.members)}"]
        parts += [f"hypervolume {self.archive.hypervolume:.3f}"]
        left = self._left(epochs, budget)
        self.say(
            f"[{self.clock.elapsed():4.0f} s] "
            + " | ".join(parts)
            + (f" | about {duration(left)} left" if left else "")
        )

    def _left(self, epochs: int, budget: int) -> float | None:
        """From the pace since the first result, at most to the deadline."""
        spent = time.time() - (self._first or time.time())
        guess = spent / (epochs - 1) * (budget - epochs) if epochs > 1 and spent > 0 else None
        limit = self.clock.left()
        return limit if guess is None else guess if limit is None else min(guess, limit)
