"""Searches in simulated time on recorded learning curves (`curves.py`): what a policy reaches, by epochs spent.

A suggestion is moved to the nearest recorded configuration that this search has not used (unit cube, a category is equal or
not) and told as that. Every epoch costs the same, ``workers`` trials run at once, and every epoch's network is a candidate for
the front, whatever the policy.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from analysis.pareto import Scale, front_mask, hypervolume
from search.archive import NEAR_CHANCE
from search.clock import Clock
from search.rungs import milestones
from search.samplers import make_sampler
from search.searcher import StudySearch, draw_from
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.sections import Rungs

GRACE, FACTOR, STEPS = 1, 3, 40
WAYS = {"accuracy": "max", "size": "min", "rate": "min", "gops": "min", "rel_bops": "min"}


class Recorded:
    """A table of curves, and a space over it."""

    def __init__(self, table: Mapping[str, Any], objectives: Sequence[str], trials: int) -> None:
        self.table, self.objectives, self.epochs = table, list(objectives), int(table["epochs"])
        self.curves = [np.array(entry["curve"]) for entry in table["configs"]]
        self.draws = [entry["draws"] for entry in table["configs"]]
        self.scale = Scale(self.objectives, table["dense"], table["chance"])
        changes = {**table["changes"], "budget.trials": trials}
        plain = Space.load(table["space"], changes).embedded()
        ways = {name: WAYS[name] for name in self.objectives}
        self.raw = {**plain.file.model_dump(exclude={"embedded"}), "objectives": ways, "points": []}
        self.space = self.with_rungs(None)
        self.domains = self.space.draws()
        self.places = np.array([self._place(draws) for draws in self.draws])

    def with_rungs(self, protect: str | None, sampler: str = "auto") -> Space:
        rungs = {"grace": GRACE, "factor": FACTOR, "protect": protect} if protect else None
        raw = {**self.raw, "budget": {**self.raw["budget"], "rungs": rungs}, "sampler": sampler}
        return Space.from_raw(self.table["space"], "replay", raw)

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
    if isinstance(domain, Categorical):
        return float(domain.choices.index(value))
    low, high = (math.log(x) if domain.log else x for x in (domain.low, domain.high))
    return ((math.log(value) if domain.log else value) - low) / ((high - low) or 1)


class Plain:
    """An Optuna sampler, told the last values of every trial, as Ray Tune with OptunaSearch does; nothing stops."""

    def __init__(self, recorded: Recorded, sampler: optuna.samplers.BaseSampler) -> None:
        ways = ["maximize" if WAYS[name] == "max" else "minimize" for name in recorded.objectives]
        self.recorded, self.study = recorded, optuna.create_study(directions=ways, sampler=sampler)
        self.trials: dict[int, optuna.Trial] = {}

    def suggest(self, number: int) -> dict[str, Any]:
        self.trials[number] = trial = self.study.ask()
        self.recorded.space.point(draw_from(trial))
        return dict(trial.params)

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        move(self.study, self.trials[number], draws)

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        return True

    def ended(self, number: int, report: Mapping[str, Any]) -> None:
        self.study.tell(self.trials[number], [report[name] for name in self.recorded.objectives])


class AccuracyAsha(Plain):
    """The same with Ray's ASHA on accuracy."""

    def __init__(self, recorded: Recorded, sampler: optuna.samplers.BaseSampler) -> None:
        super().__init__(recorded, sampler)
        self.rungs: dict[int, list[float]] = {
            e: [] for e in milestones(Rungs(grace=GRACE, factor=FACTOR), recorded.epochs)
        }

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        rung = self.rungs.get(report["epoch"])
        if rung is None:
            return True
        cutoff = np.percentile(rung, 100 * (1 - 1 / FACTOR)) if rung else -np.inf
        rung.append(report["accuracy"])
        return bool(report["accuracy"] >= cutoff)


class Ours:
    """The searcher and the rungs of this project, as they run."""

    def __init__(self, recorded: Recorded, seed: int, protect: str | None, stopped: Any, sampler: str = "auto") -> None:
        space = recorded.with_rungs(protect, sampler)
        space = Space.from_raw(space.name, "replay", {**space.raw, "seed": seed})
        storage = optuna.storages.InMemoryStorage()
        self.recorded = recorded
        self.searcher = StudySearch(space, storage, Clock(), WORKERS, stopped=stopped)

    def suggest(self, number: int) -> dict[str, Any]:
        self.searcher.suggest(str(number))
        return dict(self.searcher._ot_trials[str(number)].params)

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        move(self.searcher.study, self.searcher._ot_trials[str(number)], draws)

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        if self.searcher.ladder is None:
            return True
        scale = self.recorded.scale
        fit = report["accuracy"] >= scale.chance + NEAR_CHANCE
        return self.searcher.ladder.judge(str(number), report["epoch"], scale.coordinates(report), fit)

    def ended(self, number: int, report: Mapping[str, Any]) -> None:
        self.searcher.on_trial_complete(str(number), dict(report))


class Moasha(Plain):
    """Syne Tune's MO-ASHA with its random search: the rule of its ``Bracket`` on the priorities of its package.

    ``patched``: its ranks and its epsilon-net as they are meant, the order turned into a rank and the rank into an order.
    """

    def __init__(self, recorded: Recorded, seed: int, patched: bool) -> None:
        super().__init__(recorded, optuna.samplers.RandomSampler(seed=seed))
        self.patched = patched
        self.rungs: dict[int, list[list[float]]] = {
            e: [] for e in milestones(Rungs(grace=GRACE, factor=FACTOR), recorded.epochs)
        }
        np.random.seed(seed)  # its net begins at random

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        rung = self.rungs.get(report["epoch"])
        if rung is None:
            return True
        rung.append([report[n] * (-1 if WAYS[n] == "max" else 1) for n in self.recorded.objectives])
        if len(rung) == 1:
            return True
        priorities = self._priorities(np.array(rung))
        places = np.searchsorted(np.sort(priorities), priorities) / len(priorities)
        return bool(places[-1] <= 1 / FACTOR)

    def _priorities(self, points: np.ndarray) -> np.ndarray:
        from syne_tune.optimizer.schedulers.multiobjective import multiobjective_priority, non_dominated_priority

        if not self.patched:
            return multiobjective_priority.NonDominatedPriority().priority_unsafe(points)
        net = non_dominated_priority.compute_epsilon_net
        non_dominated_priority.compute_epsilon_net = lambda points, dim=None: np.argsort(net(points, dim=dim))
        try:
            return np.argsort(multiobjective_priority.NonDominatedPriority().priority_unsafe(points))
        finally:
            non_dominated_priority.compute_epsilon_net = net


def move(study: optuna.Study, trial: optuna.Trial, draws: Mapping[str, Any]) -> None:
    """Let a running trial have other parameters than it was asked with."""
    frozen = study._storage._get_trial(trial._trial_id)
    frozen.params = {name: draws[name] for name in frozen.distributions if name in draws}
    frozen.distributions = {name: frozen.distributions[name] for name in frozen.params}


WORKERS = 4


def replay(recorded: Recorded, policy: Any, budget: int) -> tuple[np.ndarray, dict[str, int]]:
    """Hypervolume at STEPS equal parts of ``budget`` epochs; how many trials began and how many were done."""
    free = np.ones(len(recorded.curves), dtype=bool)
    queue: list[tuple[int, int, int, int]] = []  # time, order, trial, epoch
    front = np.empty((0, len(recorded.objectives)))
    spent, begun, done, curve = 0, 0, 0, np.zeros(STEPS)
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
        if report["accuracy"] >= recorded.scale.chance + NEAR_CHANCE:
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
        if spent * STEPS % budget < STEPS or spent == budget:
            both = np.array([*front, *fresh]).reshape(-1, len(recorded.objectives))
            front, fresh = both[front_mask(both)], []
            curve[min(STEPS, math.ceil(spent * STEPS / budget)) - 1 :] = hypervolume(front, recorded.scale.reference)
    return curve, {"begun": begun, "done": done, "spent": spent}


def policies() -> dict[str, Callable[[Recorded, int], Any]]:
    """By name: a fresh one for a seed."""
    samplers = optuna.samplers
    found: dict[str, Callable[[Recorded, int], Any]] = {
        "Ray Tune + OptunaSearch, FIFO": lambda r, s: Plain(r, samplers.TPESampler(seed=s)),
        "the same, ASHA on accuracy": lambda r, s: AccuracyAsha(r, samplers.TPESampler(seed=s)),
        "random": lambda r, s: Plain(r, samplers.RandomSampler(seed=s)),
        "NSGA-II": lambda r, s: Plain(r, make_sampler("nsga2", seeded(r, s), WORKERS)),
        "ours, no rungs": lambda r, s: Ours(r, s, None, "left_out"),
    }
    for protect in ("all", "net"):
        for stopped in ("left_out", "told"):
            found[f"ours, protect {protect}, stopped {stopped}"] = lambda r, s, p=protect, t=stopped: Ours(r, s, p, t)
    found["ours with random points, protect all"] = lambda r, s: Ours(r, s, "all", "left_out", "random")
    try:
        import syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority  # noqa: F401

        found["Syne Tune MO-ASHA"] = lambda r, s: Moasha(r, s, False)
        found["Syne Tune MO-ASHA, patched"] = lambda r, s: Moasha(r, s, True)
    except ImportError:
        pass
    return found


def seeded(recorded: Recorded, seed: int) -> Space:
    return Space.from_raw(recorded.space.name, "replay", {**recorded.space.raw, "seed": seed})


assert TrialState.FAIL  # what a trial that diverged is to Optuna
