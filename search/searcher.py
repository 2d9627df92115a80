"""Optuna behind Ray Tune, for several objectives and conditional knobs: one truth of how each trial ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial as OptunaTrial
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from analysis.pareto import Scale
from search.clock import Clock
from search.distributions import span
from search.ehvi import Outlook
from search.forecast import place
from search.outcome import Outcome, outcome_of
from search.preflight import Preflight
from search.rungs import Ladder
from search.samplers import choose, make_sampler, plain_outlook
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int

__all__ = ["STOPPED", "StudySearch", "draw_from", "open_storage", "sample"]

Stopped = Literal["told", "left_out"]
STOPPED: tuple[Stopped, ...] = get_args(Stopped)

RUNGS = "rungs.jsonl"
_REFUSALS = 200

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
    ``ladder``: the rungs, None where the space has none; ``limits`` what a network must keep. ``scale``: that of the study's hypervolume.
    ``stopped``: "told", a trial that ended early counts with its last vector; "left_out", not at all, but for the forecast that ``ehvi`` has of it.
    """

    def __init__(
        self,
        space: Space,
        storage: BaseStorage,
        clock: Clock,
        concurrent: int,
        folder: Path | None = None,
        preflight: Preflight | None = None,
        scale: Scale | None = None,
        stopped: Stopped = "told",
    ) -> None:
        self.preflight = preflight
        self.space, self.clock, self.concurrent, self.stopped = space, clock, concurrent, stopped
        self.objectives, self.limits = list(space.file.objectives), space.file.constraints
        rungs, epochs = space.file.budget.rungs, space.file.budget.epochs
        self.ladder = Ladder(rungs, epochs, folder / RUNGS if folder else None) if rungs else None
        outlook = plain_outlook(space) if scale is None else Outlook(scale)
        if self.ladder is not None:
            outlook = replace(outlook, ends=self.ladder.ends)
        self.choice = choose(space, concurrent, outlook)
        self._began: dict[str, float] = {}
        self._ended = 0
        super().__init__(
            space=self._unused,
            metric=self.objectives,
            mode=list(space.file.objectives.values()),
            sampler=make_sampler(self.choice.name, space, concurrent, outlook),
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
            if self.clock.over() or (self.clock.too_late_to_start() and not first) or self._at_rest():
                return Searcher.FINISHED
            trial = self._worth_while()
            if trial is None:
                return Searcher.FINISHED
            self._ot_trials[trial_id] = trial
            trial.set_user_attr("trial_id", trial_id)
            self._began[trial_id] = time.time()
        return self._config(self._ot_trials[trial_id])

    def where(self, trial_id: str) -> list[float] | None:
        """A running trial's knobs in the unit cube, for its forecast; None where it is to have none."""
        trial, rungs = self._ot_trials.get(trial_id), self.space.file.budget.rungs
        if trial is None or rungs is None or rungs.by == "now":
            return None
        return place(self.space.draws(), trial.params)

    def save(self, checkpoint_path: str) -> None:
        """Without what is the study's and not the searcher's own: restored, it keeps the clock and the archive that it has."""
        shared = {name: self.__dict__.pop(name) for name in ("clock", "preflight")}
        try:
            super().save(checkpoint_path)
        finally:
            self.__dict__ |= shared

    def _at_rest(self) -> bool:
        return self.preflight is not None and self.preflight.over()

    def _worth_while(self) -> OptunaTrial | None:
        """Asks until a trial is not hopeless before it begins; None where so many in a row are that none may be left."""
        for _ in range(_REFUSALS):
            self._queue_point()
            trial = self._ot_study.ask()
            if self.preflight is None or not self.preflight.refuses(self._config(trial)):
                return trial
            trial.set_user_attr("end", "refused")
            self._ot_study.tell(trial, state=TrialState.FAIL)
        return None

    def _config(self, trial: OptunaTrial) -> dict[str, Any]:
        return self.space.config(self.space.point(draw_from(trial)))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Optuna is told once, at the end."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell how it ended; a FAIL is what no sampler learns from."""
        trial = self._ot_trials.get(trial_id)
        if trial is None or trial_id in self._completed_trials:
            return
        outcome = outcome_of(result, error, self.space.file.budget.epochs, self.objectives)
        trial.set_user_attr("end", outcome.value)
        trial.set_user_attr("epoch", int((result or {}).get("epoch", 0)))
        if outcome is Outcome.FAILED:
            self._ot_study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._tell(trial, outcome, result or {})
        if outcome is Outcome.DONE:
            self._learn_duration(trial_id)
        self._completed_trials.add(trial_id)
        del self._ot_trials[trial_id]  # the journal has it

    def _tell(self, trial: OptunaTrial, outcome: Outcome, result: dict[str, Any]) -> None:
        """The one place that decides what the sampler learns from; constraints count where the trial does."""
        values = [float(result[name]) for name in self.objectives]
        for name, excess in self.limits.excess(result).items():
            trial.set_constraint(name, excess)
        if outcome is Outcome.STOPPED:
            trial.set_user_attr("fidelity", int(result["epoch"]) / self.space.file.budget.epochs)
            trial.set_user_attr("values", values)
        if outcome is Outcome.STOPPED and self.stopped == "left_out":
            self._ot_study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._ot_study.tell(trial, values, skip_if_finished=True)

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
    judged["methods"] = plain["methods"]
    judged |= {name: plain["budget"][name] for name in ("epochs", "images")}
    judged["constraints"] = space.file.constraints.model_dump(exclude_none=True)
    judged["objectives"] = list(space.file.objectives.items())  # their order is that of the values
    return hashlib.sha256(json.dumps(judged, sort_keys=True, default=str).encode()).hexdigest()[:16]
