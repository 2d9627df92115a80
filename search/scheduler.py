"""ParetoASHA: early stopping for several objectives, as a scheduler of Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial

from analysis.pareto import NEAR_CHANCE, Scale
from search.clock import Clock, DeadlineScheduler
from search.searcher import StudySearch

__all__ = ["ParetoASHA"]


class ParetoASHA(DeadlineScheduler):
    """A trial that comes to a rung stops there unless where it is heading is among the best (``rungs``, ``forecast``).

    Ray drops what a scheduler knows when a search is restored, and restores its searcher: the rungs are the searcher's.
    """

    def __init__(self, clock: Clock, searcher: StudySearch, scale: Scale) -> None:
        super().__init__(clock)
        self.searcher, self.scale = searcher, scale

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP after the deadline, and at a rung for those that are not to go on."""
        stop = self.clock.over() or not self.goes_on(trial.trial_id, result)
        return str(self.STOP if stop else self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Forecasts learn from how a trial ended."""
        if "epoch" in result:
            self.goes_on(trial.trial_id, result)

    def goes_on(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether the rung that this result reaches, if any, lets its trial go on."""
        ladder = self.searcher.ladder
        if ladder is None or result.get("failed"):
            return True
        vector, where = self.scale.coordinates(result), self.searcher.where(trial_id)
        return ladder.judge(trial_id, int(result["epoch"]), vector, self._fit(result), where)

    def _fit(self, result: Mapping[str, Any]) -> bool:
        """Whether such a network could stand on the front."""
        return float(result["accuracy"]) >= self.scale.chance + NEAR_CHANCE and not self.searcher.limits.broken(result)
