"""What is known when the first trial starts: data, dense network, resources, and what a trial costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.metrics import count_macs
from search.clock import Clock
from search.cluster import Cluster
from search.folder import ARTIFACTS, StudyError, StudyFolder
from search.ground import Opened, open_embedded, open_space, plain_dense
from search_spaces import Space
from trainables.base import Ground, recipe_of
from trainables.dense import Dense, Price, StartTooLong, make_dense, price_of

__all__ = ["Plan", "Planner"]

_MEMBERS_TO_TEST = 12  # guesses made before the search, to keep time for testing the front
_TRIALS_TO_REPEAT = 4  # and for training it again


@dataclass(frozen=True)
class Plan:
    """``device`` is what a trial uses, no longer auto."""

    opened: Opened
    dense: Dense
    price: Price
    per_trial: Mapping[str, float]
    concurrent: int
    device: str

    def until(self, started: float) -> float | None:
        """When all of the study is to be over, seconds since 1970."""
        wall = self.opened.space.file.budget.wall_time
        return None if wall is None else started + wall

    def clock(self, started: float, repeats: int = 0) -> Clock:
        """The wall time, less what testing the front and training it ``repeats`` times will take."""
        wall = self.opened.space.file.budget.wall_time
        if wall is None:
            return Clock(None, self.price.trial_seconds, started)
        testing = 8 + _MEMBERS_TO_TEST * self.price.test_seconds / self.concurrent
        repeating = repeats * _TRIALS_TO_REPEAT * self.price.trial_seconds / self.concurrent
        kept = min(testing, wall / 4) + min(repeating, wall / 2)
        return Clock(started + wall - kept, self.price.trial_seconds, started)

    def ground(self, folder: Path) -> Ground:
        """What every trial of the study stands on."""
        return Ground(
            task=self.opened.task,
            start=None if self.opened.start.kind == "scratch" else self.dense.state,
            artifacts=str(folder / ARTIFACTS),
            device=self.device,
            cpus=self.per_trial["cpu"],
            dense=self.dense.state,
        )

    def reference(self) -> dict[str, Any]:
        """The dense network in figures: what every ratio and scale of the study is against."""
        task = self.opened.task
        return plain_dense(self.dense, count_macs(task.build(), task.data.input_shape), task.data.input_shape)


@dataclass(frozen=True)
class Planner:
    """From a space to a plan. ``strict``: the data set was asked for by name, no embedded data instead."""

    space: Space
    data_root: Path
    strict: bool
    cluster: Cluster
    folder: StudyFolder
    say: Callable[[str], None]
    started: float

    def plan(self) -> Plan:
        """The data are read while Ray starts; then the dense network, and what a trial costs."""
        reading = _aside(open_space, self.space, self.data_root, self.strict, self.say)
        self.cluster.connect()  # in this thread: Ray's processes end with the thread that started them
        opened = reading.result()
        self._check_shared()
        try:
            return self._priced(opened)
        except StartTooLong as error:
            if self.strict or not opened.space.file.embedded:
                raise
            return self._priced(open_embedded(opened.space, self.data_root, str(error), self.say))

    def _check_shared(self) -> None:
        """Workers write every network into the study's folder, wherever they run."""
        seen = self.cluster.local or self.cluster.call(_is_folder, [(str(self.folder.path),)], {"cpu": 0, "gpu": 0})[0]
        if not seen:
            rule = "must lie on a file system that all nodes of the cluster share"
            raise StudyError(f"results = {str(self.folder.root)!r}: {rule}")

    def _priced(self, opened: Opened) -> Plan:
        """Resources, the dense network, and what a trial costs."""
        resources = opened.space.file.resources
        try:
            per_trial = self.cluster.per_trial(resources)
            concurrent = self.cluster.concurrency(per_trial, resources.concurrent)
        except ValueError as error:
            raise StudyError(str(error)) from error
        device = self.cluster.device(resources, per_trial)
        dense, price = self._measured(opened, per_trial, device)
        return Plan(opened, dense, price, per_trial, concurrent, device)

    def _measured(self, opened: Opened, per_trial: Mapping[str, float], device: str) -> tuple[Dense, Price]:
        """The dense network and the price of a trial: here, or where trials run when that is elsewhere or on a GPU."""
        wall = opened.space.file.budget.wall_time
        until = None if wall is None else self.started + wall
        start = (opened.task, opened.start, opened.space.file.seed, device)
        price = (opened.task, recipe_of(_first_config(opened.space)), device, per_trial["cpu"])
        if self.cluster.local and not per_trial["gpu"]:
            return make_dense(*start, self.say, until), price_of(*price)
        if opened.start.state is None:
            network = opened.task.spec.network
            self.say(f"no trained {network} is given: training it on the cluster where it is not kept there")
        dense = self.cluster.call(make_dense, [(*start, print, until)], per_trial)[0]
        return dense, self.cluster.call(price_of, [price], per_trial)[0]


def _is_folder(path: str) -> bool:
    return Path(path).is_dir()


def _first_config(space: Space) -> dict[str, Any]:
    """A config to measure with: every knob at the last end of its domain, where what it switches on is on."""
    return space.config(space.point(lambda name, domain: domain.probes()[-1]))


def _aside(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Run in a thread that no one waits for when the program is told to end."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
