"""Searches in simulated time on recorded learning curves (`curves.py`): what a policy reaches, by epochs spent.

A suggestion is moved to the nearest recorded configuration that this search has not used (unit cube, a category is equal or
not) and told as that. Every epoch costs the same, ``workers`` trials run at once, and every epoch's network is a candidate for
the front, whatever the policy.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.pareto import NEAR_CHANCE, Scale, front_mask, hypervolume
from search.distributions import distribution
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.sections import Rungs

STEPS, WORKERS = 20, 4
WAYS = {"accuracy": "max", "size": "min", "rate": "min", "gops": "min", "rel_bops": "min"}


class Recorded:
    """A table of curves, and a space over it, whose ``rungs`` are those of every policy that stops trials."""

    def __init__(self, table: Mapping[str, Any], objectives: Sequence[str], trials: int, rungs: Rungs) -> None:
        self.table, self.objectives, self.epochs, self.rungs = table, list(objectives), int(table["epochs"]), rungs
        self.curves = [np.array(entry["curve"]) for entry in table["configs"]]
        self.draws = [entry["draws"] for entry in table["configs"]]
        self.scale = Scale(self.objectives, table["dense"], table["chance"])
        ways = {name: WAYS[name] for name in self.objectives}
        self.changes = {**table["changes"], "budget.trials": trials, "objectives": ways, "points": []}
        self.space = self.seeded(0)
        self.domains = self.space.draws()
        self.distributions = {name: distribution(domain) for name, domain in self.domains.items()}
        self.places = np.array([self._place(draws) for draws in self.draws])

    def seeded(self, seed: int, protect: str | None = None, sampler: str = "auto", by: str = "heading") -> Space:
        """The space as a search of ours gets it; no rungs where ``protect`` is None."""
        rungs = {**self.rungs.model_dump(), "protect": protect, "by": by} if protect else None
        changes = {**self.changes, "budget.rungs": rungs, "sampler": sampler, "seed": seed}
        space = Space.load(self.table["space"], changes)
        return space.embedded() if self.table.get("embedded", True) else space

    def fit(self, report: Mapping[str, Any]) -> bool:
        """Whether such a network could stand on the front."""
        return bool(report["accuracy"] >= self.scale.chance + NEAR_CHANCE)

    def report(self, number: int, epoch: int) -> dict[str, Any]:
        metrics = dict(zip(self.table["metrics"], self.curves[number][epoch].tolist(), strict=True))
        return {**metrics, "epoch": epoch, "failed": False}

    def length(self, number: int) -> int:
        return len(self.curves[number]) - 1

    def nearest(self, draws: Mapping[str, Any], free: np.ndarray) -> int:
        wanted = self._place(draws)
        apart = np.abs(self.places - wanted)
        for column, domain in enumerate(self.domains.values()):
            if isinstance(domain, Categorical):
                apart[:, column] = apart[:, column] > 0
        return int(np.argmin(np.where(free, (apart**2).sum(1), np.inf)))

    def _place(self, draws: Mapping[str, Any]) -> list[float]:
        return [_unit(domain, draws.get(name)) for name, domain in self.domains.items()]


def _unit(domain: Float | Int | Categorical, value: Any) -> float:
    if value is None:
        return -1.0
    return float(domain.choices.index(value)) if isinstance(domain, Categorical) else domain.share(value)


def replay(recorded: Recorded, policy: Any, budget: int, steps: int = STEPS) -> tuple[np.ndarray, dict[str, int]]:
    """Hypervolume at ``steps`` equal parts of ``budget`` epochs; how many trials began and how many were done."""
    free = np.ones(len(recorded.curves), dtype=bool)
    queue: list[tuple[int, int, int, int]] = []  # time, order, trial, epoch
    front = np.empty((0, len(recorded.objectives)))
    spent, begun, done, curve = 0, 0, 0, np.zeros(steps)
    fresh: list[Any] = []

    def begin(now: int) -> None:
        nonlocal begun
        if not free.any():
            return
        number = recorded.nearest(policy.suggest(begun), free)
        free[number] = False
        policy.moved(begun, recorded.draws[number])
        offer(recorded.report(number, 0))
        heapq.heappush(queue, (now + 1, begun, number, 1))
        begun += 1

    def offer(report: Mapping[str, Any]) -> None:
        if recorded.fit(report):
            fresh.append(recorded.scale(report))

    for _ in range(WORKERS):
        begin(0)
    while queue and spent < budget:
        now, order, number, epoch = heapq.heappop(queue)
        last = recorded.length(number)
        report = recorded.report(number, min(epoch, last))
        if epoch <= last:
            offer(report)
        spent += 1
        ends = epoch >= recorded.epochs
        if epoch > last:  # it diverged there
            policy.ended(order, {**report, "failed": True, "accuracy": 0.0})
            begin(now)
        elif ends or not policy.goes_on(order, report):
            done += ends
            policy.ended(order, report)
            begin(now)
        else:
            heapq.heappush(queue, (now + 1, order, number, epoch + 1))
        if spent * steps % budget < steps or spent == budget:
            both = np.array([*front, *fresh]).reshape(-1, len(recorded.objectives))
            front, fresh = both[front_mask(both)], []
            curve[min(steps, math.ceil(spent * steps / budget)) - 1 :] = hypervolume(front, recorded.scale.reference)
    return curve, {"begun": begun, "done": done, "spent": spent}
