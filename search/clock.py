"""Wall time of a study. The deadline acts through the searcher and the scheduler, never through Ray's own time budget,
which ends trials without telling the searcher or the callbacks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

__all__ = ["Clock", "DeadlineScheduler"]


@dataclass
class Clock:
    """``deadline``: seconds since the epoch after which trials stop; None: never. ``trial_seconds``: what one takes."""

    deadline: float | None = None
    trial_seconds: float = 0.0
    started: float = field(default_factory=time.time)

    def over(self) -> bool:
        """Whether trials that run should stop."""
        return self.deadline is not None and time.time() >= self.deadline

    def too_late_to_start(self) -> bool:
        """Whether a trial that starts now could not finish."""
        return self.deadline is not None and time.time() + self.trial_seconds > self.deadline

    def elapsed(self) -> float:
        """Seconds since the study began."""
        return time.time() - self.started

    def left(self) -> float | None:
        """Seconds to the deadline, 0 when it has passed."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())


class DeadlineScheduler(FIFOScheduler):
    """First come, first served; after the deadline every trial stops at its next epoch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Several objectives: this scheduler ranks nothing and needs none of them."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP after the deadline."""
        return str(self.STOP if self.clock.over() else self.CONTINUE)
