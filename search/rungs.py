"""Rungs: which trials go on, by Pareto rank of where they are heading (``forecast``). Nothing here knows Ray.

At a rung the n networks recorded there are ordered: those that break no constraint now first, then by front, and inside a front by
the epsilon-net; the best ceil(n / factor) go on, and with ``protect: all`` every member of the rung's front does. Schmucker et
al. 2021, "Multi-objective Asynchronous Successive Halving", arXiv 2106.12639.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.pareto import net_order
from search.forecast import Forecast
from search_spaces.sections import Rungs

__all__ = ["Ladder", "Layers", "Rung", "milestones"]

_NET = 256  # a net takes places x members steps: of a larger front its latest members stand for all


def milestones(rungs: Rungs, epochs: int) -> list[int]:
    """Epochs grace, grace x factor, grace x factor^2, ... before the last."""
    found, epoch = [], rungs.grace
    while epoch < epochs:
        found.append(epoch)
        epoch *= rungs.factor
    return found


class Layers:
    """The fronts of points that come one by one, all minimised; a point costs no more than the fronts that it moves.

    Li et al. 2017, "Efficient Nondomination Level Update", doi 10.1109/TCYB.2016.2621008.
    """

    def __init__(self) -> None:
        self.fronts: list[NDArray[np.int64]] = []
        self._points: NDArray[np.float64] = np.empty((0, 0))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, point: Sequence[float]) -> int:
        """The number of the front that the point stands on; it pushes down what it dominates."""
        number = self._stored(point)
        vector = self._points[number]
        level = bisect_left(range(len(self.fronts)), 1, key=lambda k: not self._dominated(self.fronts[k], vector))
        moved, below = np.array([number]), level
        while len(moved):
            if below == len(self.fronts):
                self.fronts.append(moved)
                break
            front = self.fronts[below]
            beaten = self._beaten(front, moved)
            self.fronts[below] = np.sort(np.concatenate([front[~beaten], moved]))
            moved, below = front[beaten], below + 1
        return level

    def points(self, level: int) -> NDArray[np.float64]:
        """Of one front, in the order in which they came."""
        return self._points[self.fronts[level]]

    def _stored(self, point: Sequence[float]) -> int:
        number = self._count
        if number == len(self._points):
            grown = np.empty((max(16, 2 * number), len(point)))
            grown[:number] = self._points[:number] if number else 0.0
            self._points = grown
        self._points[number] = point
        self._count += 1
        return number

    def _dominated(self, front: NDArray[np.int64], vector: NDArray[np.float64]) -> bool:
        members = self._points[front]
        return bool(((members <= vector).all(1) & (members < vector).any(1)).any())

    def _beaten(self, front: NDArray[np.int64], by: NDArray[np.int64]) -> NDArray[np.bool_]:
        members, beaten = self._points[front], np.zeros(len(front), dtype=bool)
        for vector in self._points[by]:
            beaten |= (vector <= members).all(1) & (vector < members).any(1)
        return beaten


class Rung:
    """What was recorded at one rung, and who goes on from there."""

    def __init__(self, factor: int, protect: str) -> None:
        self.factor, self.protect = factor, protect
        self._feasible, self._rest = Layers(), Layers()

    def __len__(self) -> int:
        return len(self._feasible) + len(self._rest)

    def add(self, vector: Sequence[float], feasible: bool = True) -> int:
        """Record a network; the number of its front among its kind."""
        return (self._feasible if feasible else self._rest).add(vector)

    def judge(self, vector: Sequence[float], feasible: bool = True) -> bool:
        """Record a network, and say whether it goes on. Nothing is decided before ``factor`` are there."""
        level = self.add(vector, feasible)
        if len(self) < self.factor or (self.protect == "all" and feasible and level == 0):
            return True
        layers = self._feasible if feasible else self._rest
        places = math.ceil(len(self) / self.factor) - (0 if feasible else len(self._feasible))
        places -= sum(len(front) for front in layers.fronts[:level])
        size = len(layers.fronts[level])
        if not 0 < places < size:
            return places > 0
        latest = layers.points(level)[-_NET:]  # its own network is the last of them
        places = math.ceil(places * len(latest) / size)
        return bool((net_order(latest, places) == len(latest) - 1).any())


class Ladder:
    """All rungs of a study. ``path``: a line a decision, from which a killed search knows its rungs again."""

    def __init__(self, rungs: Rungs, epochs: int, path: Path | None = None) -> None:
        self.section, self.epochs, self.path = rungs, epochs, path
        self._clear()
        self._read()

    def judge(
        self,
        trial_id: str,
        epoch: int,
        vector: Sequence[float],
        feasible: bool = True,
        where: Sequence[float] | None = None,
    ) -> bool:
        """Whether a trial goes on; a restarted one that comes to a rung again is told what it was told there.

        With ``where``, its knobs in the unit cube, it is judged by its forecast, which learns from its rungs and its end.
        """
        if (epoch not in self._rungs and (epoch != self.epochs or where is None)) or not all(
            map(math.isfinite, vector)
        ):
            return True
        if (trial_id, epoch) not in self._told:
            heading = list(vector) if where is None else self._forecast.heading(epoch, where, vector)
            entry = {"trial": trial_id, "epoch": epoch, "vector": heading, "feasible": feasible}
            if where is not None:
                entry |= {"seen": list(vector), "where": list(where)}
            rung = self._rungs.get(epoch)
            entry["go"] = True if rung is None else rung.judge(heading, feasible)
            self._keep(entry)
            self._write(entry)
        return self._told[trial_id, epoch]

    def told(self, trial_id: str, epoch: int) -> bool | None:
        """What a trial was told at a rung, None where nothing."""
        return self._told.get((trial_id, epoch))

    def ends(self) -> dict[str, list[float]]:
        """By trial that came to a rung: the coordinates that it ended with, or is heading for; none where trials are judged as they are."""
        return self._forecast.ends()

    def sizes(self) -> dict[int, int]:
        """By epoch: how many were recorded."""
        return {epoch: len(rung) for epoch, rung in self._rungs.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Ray keeps the searcher, and with it this, every few seconds; the file knows every decision."""
        state = dict(self.__dict__)
        if self.path:
            del state["_rungs"], state["_told"], state["_forecast"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path:
            self._clear()
            self._read()

    def _clear(self) -> None:
        factor, protect, rungs = self.section.factor, self.section.protect, milestones(self.section, self.epochs)
        self._rungs = {epoch: Rung(factor, protect) for epoch in rungs}
        self._told: dict[tuple[str, int], bool] = {}
        self._forecast = Forecast([*rungs, self.epochs], factor)

    def _read(self) -> None:
        """Every whole line; a last one that was cut off is removed, so that the next starts a line of its own."""
        if not self.path or not self.path.exists():
            return
        whole, _, torn = self.path.read_bytes().rpartition(b"\n")
        if torn:
            with self.path.open("r+b") as file:
                file.truncate(len(whole) + bool(whole))
        for line in whole.splitlines():
            entry = json.loads(line)
            if (rung := self._rungs.get(entry["epoch"])) is not None:
                rung.add(entry["seen" if self.section.by == "now" and "seen" in entry else "vector"], entry["feasible"])
            if rung is not None or entry["epoch"] == self.epochs:
                self._keep(entry)

    def _keep(self, entry: Mapping[str, Any]) -> None:
        self._told[entry["trial"], entry["epoch"]] = entry["go"]
        if "seen" in entry:
            self._forecast.record(entry["trial"], entry["epoch"], entry["where"], entry["seen"])

    def _write(self, entry: dict[str, Any]) -> None:
        """One line in one write. A full disk does not end a search."""
        if self.path:
            with suppress(OSError), self.path.open("ab", buffering=0) as file:
                file.write(json.dumps(entry).encode() + b"\n")
