"""What Ray keeps of trials that ended, until the search does: let go, so that a long search takes no more memory than a short one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

__all__ = ["Shedding"]

_OVER = (Trial.TERMINATED, Trial.ERROR)


class Shedding(Callback):
    """Stands last in Ray's list. A trial keeps its name, its state, its folder and its error; the ledger has the rest.

    Ray saves a last checkpoint after it told of a trial's end: a trial is let go when a later one ends.
    """

    def __init__(self) -> None:
        self._ended: list[Trial] = []
        self._shared: dict[Hashable, Any] = {}

    def __reduce__(self) -> Any:
        """Ray keeps callbacks with the experiment; this one has nothing to keep."""
        return (Callback, ())

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Done, stopped or diverged."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Crashed for good."""
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        quiet = [t for t in self._ended if t.status in _OVER and not t.is_saving]
        for done in quiet:
            self._lighten(done)
        self._ended = [t for t in self._ended if t not in quiet] + [trial]

    def _lighten(self, trial: Trial) -> None:
        """Results, knobs and checkpoints go (their files stay); what is the same for all trials is shared."""
        known = trial.run_metadata
        known.last_result, known.checkpoint_manager = (
            {},
            self._once("checkpoints", type(known.checkpoint_manager)(None)),
        )
        for statistics in (known.metric_analysis, known.metric_n_steps, trial.config, trial.evaluated_params):
            statistics.clear()
        known.invalidate_cache()
        trial.invalidate_json_state()
        trial._default_result_or_future = None  # its object would stay in Ray's store
        trial.placement_group_factory = self._once(trial.placement_group_factory, trial.placement_group_factory)
        for part in ("syncer", "sync_config", "storage_filesystem"):
            setattr(trial.storage, part, self._once(part, getattr(trial.storage, part)))

    def _once(self, name: Hashable, value: Any) -> Any:
        return self._shared.setdefault(name, value)
