"""Progress: one snapshot of a search, and the views that are told of it. Plain lines here, a terminal's live display in
``display``, JSON in ``events``."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TextIO

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.archive import Archive, measured, reports
from search.clock import Clock
from search.failures import cause_of
from search.front import Member

__all__ = ["Lines", "Progress", "Running", "State", "View", "duration", "line_of", "speaker"]

_QUIET_SECONDS = 30.0
_LOCK = threading.Lock()


def speaker(quiet: bool, stream: TextIO | None = None) -> Callable[[str], None]:
    """A function that prints a line, or nothing."""

    def say(line: str) -> None:
        if not quiet:
            # a closed pipe or terminal does not end a search; lines are whole, whichever thread they come from
            with suppress(OSError), _LOCK:
                (stream or sys.stdout).write(line + "\n")
                (stream or sys.stdout).flush()

    return say


def duration(seconds: float) -> str:
    """``45 s``, ``7 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min"


@dataclass(frozen=True)
class Running:
    """A trial that runs, with the metrics of its last epoch; none before the first."""

    trial_id: str
    epoch: int
    metrics: Mapping[str, float]
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class State:
    """A search as it stood at the time ``at``. ``trials`` of ``epochs`` each are planned, ``spent`` epochs are done,
    ``to_come`` are still expected: less than the rest where trials ended early. ``dense``: the reference network."""

    trials: int
    epochs: int
    ends: Mapping[str, int]
    running: tuple[Running, ...]
    spent: int
    to_come: int
    members: tuple[Member, ...]
    hypervolume: float
    dense: Mapping[str, float]
    elapsed: float
    left: float | None
    at: float

    @property
    def budget(self) -> int:
        """Epochs of the whole search."""
        return self.trials * self.epochs

    def later(self, now: float) -> State:
        """The same with the time gone on, while nothing was reported."""
        passed = max(0.0, now - self.at)
        left = None if self.left is None else max(0.0, self.left - passed)
        return replace(self, elapsed=self.elapsed + passed, left=left, at=now)


def line_of(state: State) -> str:
    """The state of the search in one line."""
    parts = [f"{state.ends['done']}/{state.trials} trials done", f"{len(state.running)} running"]
    parts += [f"{state.ends[end]} {end}" for end in ("stopped", "failed") if state.ends[end]]
    parts += [f"epoch {state.spent}/{state.budget}", f"front {len(state.members)}"]
    parts += [f"hypervolume {state.hypervolume:.3f}"]
    parts += [f"about {duration(state.left)} left"] if state.left else []
    return f"[{state.elapsed:4.0f} s] " + " | ".join(parts)


class View(Protocol):
    """Who is told of a search."""

    def say(self, line: str) -> None:
        """A message."""

    def tell(self, event: str, facts: Mapping[str, Any], state: State | None = None) -> None:
        """``event``: study, trial_start, epoch, trial_end or front. No ``state`` before the first trial."""

    def close(self) -> None:
        """The last trial has ended; messages may follow."""


class Lines:
    """A line when a trial ends, for the first epoch, and every half minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._printed = 0.0

    def tell(self, event: str, facts: Mapping[str, Any], state: State | None = None) -> None:
        """Throttled, but for the end of a trial."""
        due = event == "trial_end" or (event == "epoch" and time.time() - self._printed > _QUIET_SECONDS)
        if state and due:
            self._printed = time.time()
            self.say(line_of(state))

    def close(self) -> None:
        """Nothing is open."""


class Progress(Callback):
    """Tells a view what Ray reports; stands behind the archive in Ray's list and counts by it alone."""

    def __init__(self, archive: Archive, clock: Clock, trials: int, view: View) -> None:
        self.archive, self.clock, self.trials, self.view = archive, clock, trials, view
        self._first: float | None = None
        self._before = sum(row["epoch"] for row in archive.trials.values())  # of a study that goes on
        self._begun: set[str] = set()
        self._front: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Ray keeps callbacks with the experiment; a view of this terminal stays here."""
        return {**self.__dict__, "view": Lines(print)}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Once a trial, however often Ray restarts it."""
        if trial.trial_id not in self._begun:
            self._begun.add(trial.trial_id)
            self._tell("trial_start", {"trial_id": trial.trial_id, "config": dict(trial.config["point"])})

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Every network that was measured, and the front where it changed."""
        self._first = self._first or time.time()
        for report in reports(result):
            metrics = measured(report)
            epoch = int(metrics.pop("epoch"))
            self._tell("epoch", {"trial_id": trial.trial_id, "epoch": epoch, "metrics": metrics})
        on_front = [member.artifact for member in self.archive.members]
        if on_front != self._front:
            self._front = on_front
            members = [_short(member) for member in self.archive.front({})]
            facts = {"size": len(members), "hypervolume": self.archive.hypervolume, "members": members}
            self._tell("front", facts)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Done, stopped or diverged."""
        self._end(trial, "")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A crash, with where to read more."""
        reason = f"its error is in {trial.path}/error.txt"
        self.view.say(f"trial {trial.trial_id} failed, {cause_of(trial)}; {reason}")
        self._end(trial, reason)

    def _end(self, trial: Trial, reason: str) -> None:
        row = self.archive.trials.get(trial.trial_id, {})
        facts = {"trial_id": trial.trial_id, "end": row.get("end"), "reason": reason or row.get("reason", "")}
        self._tell("trial_end", facts)

    def _tell(self, event: str, facts: Mapping[str, Any]) -> None:
        self.view.tell(event, facts, self.state())

    def state(self) -> State:
        """The one place that counts trials and epochs."""
        archive, each = self.archive, self.archive.epochs
        rows = archive.trials
        running = tuple(
            Running(name, row["epoch"], row.get("metrics", {}), row["config"])
            for name, row in rows.items()
            if row["end"] == "running"
        )
        ends = Counter(row["end"] for row in rows.values())
        spent = sum(row["epoch"] for row in rows.values())
        unstarted = self.trials - len(rows)
        to_come = unstarted * each + sum(each - trial.epoch for trial in running)
        return State(
            trials=self.trials,
            epochs=each,
            ends=ends,
            running=running,
            spent=spent,
            to_come=to_come,
            members=tuple(archive.members),
            hypervolume=archive.hypervolume,
            dense=archive.scale.dense,
            elapsed=self.clock.elapsed(),
            left=self._left(spent, to_come, len(running)),
            at=time.time(),
        )

    def _left(self, spent: int, to_come: int, running: int) -> float | None:
        """From the pace since the first result, once each running trial may have reported; at most to the deadline."""
        passed = time.time() - (self._first or time.time())
        spent -= self._before
        guess = passed / (spent - 1) * to_come if spent > max(1, running) and passed > 0 else None
        limit = self.clock.left()
        return limit if guess is None else guess if limit is None else min(guess, limit)


def _short(member: Member) -> dict[str, Any]:
    """A member as ``front.json`` has it, without what an epoch's event has told."""
    names = ("trial_id", "epoch", "accuracy", "rate", "size_bytes", "artifact")
    return {name: value for name, value in member.plain().items() if name in names}
