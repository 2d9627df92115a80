"""Optuna behind Ray Tune, for several objectives and conditional knobs: one truth of how each trial ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial as OptunaTrial
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from search.clock import Clock
from search.outcome import Outcome, outcome_of
from search.samplers import choose, make_sampler, span
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int

__all__ = ["StudySearch", "draw_from", "open_storage", "sample"]

optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line a trial is ours to print


def draw_from(trial: OptunaTrial) -> Callable[[str, Float | Int | Categorical], Any]:
    """The ``draw`` that ``Space.point`` asks, answered by an Optuna trial."""

    def draw(name: str, domain: Float | Int | Categorical) -> Any:
        if isinstance(domain, Float):
            return trial.suggest_float(name, **span(domain))
        if isinstance(domain, Int):
            return trial.suggest_int(name, **span(domain))
        return trial.suggest_categorical(name, domain.choices)

    return draw


def open_storage(folder: Path) -> JournalStorage:
    """The study's journal, one append-only file beside its results."""
    return JournalStorage(JournalFileBackend(str(folder / "study.journal")))


def sample(space: Space) -> dict[str, Any]:
    """One point of a space, drawn at random with its seed; nothing is stored."""
    study = optuna.create_study(sampler=RandomSampler(seed=space.file.seed))
    return space.point(draw_from(study.ask()))


class StudySearch(OptunaSearch):
    """Asks Optuna for points, turns them into configs, and tells Optuna one vector a trial: that of its last epoch.

    Trials that could not finish before the deadline are not started. ``choice`` is the sampler, and why ``auto`` took it.
    """

    def __init__(self, space: Space, storage: JournalStorage, clock: Clock, concurrent: int) -> None:
        self.space, self.clock, self.concurrent = space, clock, concurrent
        self.objectives = list(space.file.objectives)
        self.choice = choose(space, concurrent, clock.trial_seconds)
        self._began: dict[str, float] = {}
        self._ended = 0
        super().__init__(
            space=self._unused,
            metric=self.objectives,
            mode=list(space.file.objectives.values()),
            sampler=make_sampler(self.choice.name, space, concurrent),
            study_name=space.name,
            storage=storage,
        )
        self._same_study(fingerprint(space))

    @property
    def study(self) -> optuna.Study:
        """The Optuna study."""
        return self._ot_study

    def suggest(self, trial_id: str) -> Any:
        """The next config, or FINISHED when the time left is too short for a whole trial."""
        first = len(self._began) < self.concurrent
        if trial_id not in self._ot_trials:
            if self.clock.over() or (self.clock.too_late_to_start() and not first):
                return Searcher.FINISHED
            self._queue_point()
            self._ot_trials[trial_id] = self._ot_study.ask()
            self._ot_trials[trial_id].set_user_attr("trial_id", trial_id)
            self._began[trial_id] = time.time()
        return self.space.config(self.space.point(draw_from(self._ot_trials[trial_id])))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Optuna is told once, at the end."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the vector of a mature trial; anything else is a FAIL that no sampler learns from."""
        trial = self._ot_trials.get(trial_id)
        if trial is None or trial_id in self._completed_trials:
            return
        outcome = outcome_of(result, error, self.space.file.budget.epochs, self.objectives)
        trial.set_user_attr("end", outcome.value)
        trial.set_user_attr("epoch", int((result or {}).get("epoch", 0)))
        values = [float((result or {}).get(m, float("nan"))) for m in self.objectives]
        if outcome is Outcome.DONE:
            self._ot_study.tell(trial, values, skip_if_finished=True)
            self._learn_duration(trial_id)
        else:
            if outcome is Outcome.STOPPED:
                trial.set_user_attr("fidelity", int((result or {})["epoch"]) / self.space.file.budget.epochs)
                trial.set_user_attr("values", values)
            self._ot_study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        self._completed_trials.add(trial_id)

    def _queue_point(self) -> None:
        """Let the next trial be the first point that the journal does not hold yet, so that none is tried twice."""
        if points := self.space.file.points:
            tried = [trial.system_attrs.get("fixed_params") for trial in self._ot_study.get_trials(deepcopy=False)]
            for number, point in enumerate(points):
                if point not in tried:
                    self._ot_study.enqueue_trial(point, user_attrs={"point": number})
                    return

    def _learn_duration(self, trial_id: str) -> None:
        """Running mean of what a whole trial takes; the first replaces the estimate made before the search."""
        spent = time.time() - self._began.get(trial_id, time.time())
        mean = 0.0 if self._ended == 0 else self.clock.trial_seconds
        self.clock.trial_seconds = (mean * self._ended + spent) / (self._ended + 1)
        self._ended += 1

    def _same_study(self, mark: str) -> None:
        known = self._ot_study.user_attrs.get("fingerprint")
        if known not in (None, mark):
            raise ValueError(
                f"study {self.space.name!r}: its journal holds trials of another space or other objectives"
            )
        self._ot_study.set_user_attr("fingerprint", mark)

    @staticmethod
    def _unused(trial: OptunaTrial) -> dict[str, BaseDistribution]:
        raise NotImplementedError("points come from Space.point")


def fingerprint(space: Space) -> str:
    """Changes with what is searched and how it is judged; not with how many trials there are, how long, or where."""
    plain = space.resolved()
    judged = {name: plain[name] for name in ("method", "task", "search", "fixed", "penalties", "optimizer")}
    judged |= {name: plain["budget"][name] for name in ("epochs", "images")}
    judged["objectives"] = list(space.file.objectives.items())  # their order is that of the values
    return hashlib.sha256(json.dumps(judged, sort_keys=True, default=str).encode()).hexdigest()[:16]
