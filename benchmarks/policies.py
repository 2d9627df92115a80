"""The policies that are compared on recorded curves (`replay.py`): each suggests points, and says at a report whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna

from benchmarks.replay import WAYS, WORKERS, Recorded
from search.clock import Clock
from search.ehvi import EhviSampler
from search.rungs import milestones
from search.samplers import make_sampler
from search.searcher import StudySearch, draw_from

PLAIN = "Ray Tune + OptunaSearch, FIFO"


def policies() -> dict[str, Callable[[Recorded, int], Any]]:
    """By name: a fresh one for a seed. Syne Tune's where it is installed."""
    samplers = optuna.samplers
    found: dict[str, Callable[[Recorded, int], Any]] = {
        PLAIN: lambda r, s: Plain(r, samplers.TPESampler(seed=s)),
        "Ray Tune + OptunaSearch, ASHA on accuracy": lambda r, s: AccuracyAsha(r, samplers.TPESampler(seed=s)),
        "random": lambda r, s: Plain(r, samplers.RandomSampler(seed=s)),
        "NSGA-II": lambda r, s: Plain(r, make_sampler("nsga2", r.seeded(s), WORKERS)),
    }
    try:
        import syne_tune

        found[f"Syne Tune {syne_tune.__version__} MO-ASHA"] = lambda r, s: Moasha(r, s, False)
        found[f"Syne Tune {syne_tune.__version__} MO-ASHA, its ranks mended"] = lambda r, s: Moasha(r, s, True)
    except ImportError:
        pass
    ours: dict[str, Callable[[Recorded, int], Any]] = {
        "ours": lambda r, s: Among(r, s, "net"),
        "ours, points moved": lambda r, s: Ours(r, s, "net"),
        "ours, all of the front protected": lambda r, s: Among(r, s, "all"),
        "ours, judged as they are": lambda r, s: Among(r, s, "net", by="now"),
        "ours, no rungs": lambda r, s: Among(r, s, None),
        "ours, random points": lambda r, s: Ours(r, s, "net", sampler="random"),
        "ours, tpe": lambda r, s: Ours(r, s, "net", sampler="tpe"),
        "ours, tpe, all of the front protected": lambda r, s: Ours(r, s, "all", sampler="tpe"),
        "ours, tpe, judged as they are": lambda r, s: Ours(r, s, "net", sampler="tpe", by="now"),
        "ours, tpe, stopped trials left out": lambda r, s: Ours(r, s, "net", "left_out", sampler="tpe"),
        "ours, tpe, were all ends known": lambda r, s: Oracle(r, s, "net", sampler="tpe"),
    }
    return found | ours


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
        move(self.study, self.trials[number], draws, self.recorded.distributions)

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        return True

    def ended(self, number: int, report: Mapping[str, Any]) -> None:
        if report["failed"]:
            self.study.tell(self.trials[number], state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(self.trials[number], [report[name] for name in self.recorded.objectives])


class AccuracyAsha(Plain):
    """The same with Ray's ASHA on accuracy: what is below the best 1/factor of those that came before stops."""

    def __init__(self, recorded: Recorded, sampler: optuna.samplers.BaseSampler) -> None:
        super().__init__(recorded, sampler)
        self.rungs: dict[int, list[float]] = {epoch: [] for epoch in milestones(recorded.rungs, recorded.epochs)}

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        rung = self.rungs.get(report["epoch"])
        if rung is None:
            return True
        cutoff = np.percentile(rung, 100 * (1 - 1 / self.recorded.rungs.factor)) if rung else -np.inf
        rung.append(report["accuracy"])
        return bool(report["accuracy"] >= cutoff)


class Moasha(Plain):
    """Syne Tune's scheduler as it is, with random points. ``mended``: its order turned into ranks, its net's ranks into an order."""

    def __init__(self, recorded: Recorded, seed: int, mended: bool) -> None:
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        super().__init__(recorded, optuna.samplers.RandomSampler(seed=seed))
        np.random.seed(seed)  # it draws a bracket; there is one
        rungs, names = recorded.rungs, recorded.objectives
        about = {"time_attr": "epoch", "max_t": recorded.epochs, "random_seed": seed}
        about |= {"grace_period": rungs.grace, "reduction_factor": rungs.factor}
        self.scheduler = MOASHA({}, names, multiobjective_priority=_mended() if mended else None, **about)
        self._trial = lambda number: Trial(number, {}, None)

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        super().moved(number, draws)
        self.scheduler.on_trial_add(self._trial(number))

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        values = {name: report[name] * (-1 if WAYS[name] == "max" else 1) for name in self.recorded.objectives}
        told = self.scheduler.on_trial_result(self._trial(number), {**values, "epoch": report["epoch"]})
        return bool(told != "STOP")


def _mended() -> Any:
    from syne_tune.optimizer.schedulers.multiobjective import multiobjective_priority, non_dominated_priority

    class Mended(multiobjective_priority.NonDominatedPriority):
        def priority_unsafe(self, objectives: np.ndarray) -> np.ndarray:
            net = non_dominated_priority.compute_epsilon_net
            non_dominated_priority.compute_epsilon_net = lambda points, dim=None: np.argsort(net(points, dim=dim))
            try:
                return np.argsort(super().priority_unsafe(objectives))
            finally:
                non_dominated_priority.compute_epsilon_net = net

    return Mended()


class Ours:
    """The searcher and the rungs of this project, as they run."""

    def __init__(
        self,
        recorded: Recorded,
        seed: int,
        protect: str | None,
        stopped: Any = "told",
        sampler: str = "auto",
        by: str = "heading",
    ) -> None:
        space = recorded.seeded(seed, protect, sampler, by)
        self.recorded = recorded
        storage = optuna.storages.InMemoryStorage()
        self.searcher = StudySearch(space, storage, Clock(), WORKERS, scale=recorded.scale, stopped=stopped)

    def suggest(self, number: int) -> dict[str, Any]:
        self.searcher.suggest(str(number))
        return dict(self.searcher._ot_trials[str(number)].params)

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        move(self.searcher.study, self.searcher._ot_trials[str(number)], draws, self.recorded.distributions)

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        if self.searcher.ladder is None:
            return True
        vector, where = self.recorded.scale.coordinates(report), self.searcher.where(str(number))
        return self.searcher.ladder.judge(str(number), report["epoch"], vector, self.recorded.fit(report), where)

    def ended(self, number: int, report: Mapping[str, Any]) -> None:
        if not report["failed"]:
            self.goes_on(number, report)
        self.searcher.on_trial_complete(str(number), dict(report))


class Among(Ours):
    """Its sampler knows which configurations there are, as it knows a space: what it suggests need not be moved."""

    def __init__(self, recorded: Recorded, *about: Any, **more: Any) -> None:
        super().__init__(recorded, *about, **more)
        self.free = list(recorded.draws)
        sampler = self.searcher.study.sampler
        if not isinstance(sampler, EhviSampler):
            raise ValueError(f"{self.searcher.choice}: only ehvi picks among points; give it more trials")
        sampler._candidates = lambda *_: [dict(draws) for draws in self.free]  # type: ignore[method-assign]

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        super().moved(number, draws)
        self.free = [other for other in self.free if other is not draws]


class Oracle(Ours):
    """Its rungs judge trials by how they end, as a perfect forecast would."""

    def __init__(self, recorded: Recorded, *about: Any, **more: Any) -> None:
        super().__init__(recorded, *about, **more)
        self.recorded_as: dict[int, int] = {}

    def moved(self, number: int, draws: Mapping[str, Any]) -> None:
        super().moved(number, draws)
        self.recorded_as[number] = self.recorded.draws.index(draws)

    def goes_on(self, number: int, report: Mapping[str, Any]) -> bool:
        known = self.recorded_as[number]
        end = self.recorded.report(known, self.recorded.length(known))
        assert self.searcher.ladder is not None
        vector = self.recorded.scale.coordinates(end)
        return self.searcher.ladder.judge(str(number), report["epoch"], vector, self.recorded.fit(end))


def move(study: optuna.Study, trial: optuna.Trial, draws: Mapping[str, Any], every: Mapping[str, Any]) -> None:
    """Let a running trial have other parameters than it was asked with, and those alone."""
    for frozen in (study._storage._get_trial(trial._trial_id), trial._cached_frozen_trial):
        frozen.params = {name: draws[name] for name in every if name in draws}
        frozen.distributions = {name: every[name] for name in frozen.params}
