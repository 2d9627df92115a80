"""The archive: hears of every network as it is measured, keeps the front, and throws away the files of the rest."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Callback
from ray.tune.experiment import Trial

from analysis.pareto import Scale, front_mask
from compress.artifact import save
from compress.metrics import Metrics
from search.folder import ARTIFACTS
from search.front import Front, Member
from search.keeping import Keep, Keeping
from search.outcome import outcome_of

__all__ = ["Archive", "measured", "reports", "write_text"]

NEAR_CHANCE = 0.05
METRIC_NAMES = [f.name for f in fields(Metrics)]


def write_text(path: Path, text: str) -> None:
    """Atomically."""
    save(path, text.encode())


class Archive(Callback):
    """Ray's callback for results. Members within five points of chance are on no front."""

    def __init__(
        self,
        folder: Path,
        objectives: Mapping[str, str],
        scale: Scale,
        epochs: int,
        about: Mapping[str, Any] | None = None,
        keep: Keep = "front",
    ) -> None:
        self.keeping = Keeping(folder, keep, self._fittest)
        self.folder, self.objectives, self.scale, self.epochs = folder, dict(objectives), scale, epochs
        self.about = dict(about or {})
        self.members: list[Member] = []
        self.trials: dict[str, dict[str, Any]] = {}
        self.networks = 0
        self.hypervolume = 0.0

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins; nothing is known of it but its knobs."""
        self._row(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """One epoch, and with the first the untrained network too."""
        row = self._row(trial)
        row["epoch"] = max(row["epoch"], int(result.get("epoch", 0)))
        changed = False
        for report in reports(result):
            row["metrics"] = measured(report)
            network = report["artifact"], row["config"], report.get("evaluation")
            changed |= self.add(trial.trial_id, row["metrics"], *network)
        if result.get("failed"):
            row["reason"] = result.get("reason", "")
        if changed:
            with suppress(OSError):  # a full disk does not end a search; the next change writes again
                write_text(self.folder / "front.json", self.front({}).json())

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended in good order, early or not."""
        self._end(trial, False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial crashed for good."""
        self._end(trial, True)

    def _end(self, trial: Trial, error: bool) -> None:
        row = self._row(trial)
        row["end"] = outcome_of(trial.last_result, error, self.epochs, list(self.objectives)).value

    def _row(self, trial: Trial) -> dict[str, Any]:
        return self.trials.setdefault(
            trial.trial_id, {"end": "running", "epoch": 0, "config": dict(trial.config["point"])}
        )

    def add(
        self,
        trial_id: str,
        metrics: Mapping[str, float],
        file: str,
        config: Mapping[str, Any],
        evaluation: Mapping[str, Any] | None = None,
    ) -> bool:
        """Offer one network to the front; True where it stands on it now."""
        self.networks += 1
        member = Member(
            trial_id=trial_id,
            epoch=int(metrics["epoch"]),
            metrics=metrics,
            config=config,
            artifact=f"{ARTIFACTS}/{file}",
            evaluation=evaluation or {},
        )
        others = [m for m in self.members if m.artifact != member.artifact]  # a restarted trial repeats an epoch
        candidates = [*others, member]
        kept = front_mask(np.array([self._vector(m.metrics) for m in candidates]))
        if metrics["accuracy"] < self.scale.chance + NEAR_CHANCE:
            kept[-1] = False
        if kept[-1]:
            self.members = [m for m, keep in zip(candidates, kept, strict=True) if keep]
            dropped = [m for m, keep in zip(candidates, kept, strict=True) if not keep]
        else:
            self.members, dropped = others, [member]
        self.hypervolume = self.scale.hypervolume([m.metrics for m in self.members])
        self.keeping.settle(member, self.members, dropped)
        return bool(kept[-1])

    def front(self, dense: Mapping[str, float]) -> Front:
        """As it is now, the most accurate first."""
        ordered = sorted(self.members, key=lambda m: (-m.metrics["accuracy"], m.metrics["size"]))
        return Front(ordered, self.objectives, dense, self.folder, self.hypervolume, about=self.about)

    def sweep(self) -> None:
        """Remove files that belong to nobody: of trials cut off between writing and reporting."""
        self.keeping.sweep(self.members)

    def trials_csv(self) -> str:
        """One line a trial: how it ended, its knobs, its last metrics."""
        knobs = list(dict.fromkeys(k for row in self.trials.values() for k in row["config"]))
        columns = list(dict.fromkeys(k for row in self.trials.values() for k in row.get("metrics", {}) if k != "epoch"))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial_id", "end", "epoch", *columns, *knobs, "reason"])
        for trial_id, row in self.trials.items():
            metrics = [row.get("metrics", {}).get(c, "") for c in columns]
            values = [row["config"].get(k, "") for k in knobs]
            writer.writerow([trial_id, row["end"], row["epoch"], *metrics, *values, row.get("reason", "")])
        return text.getvalue()

    def _fittest(self, members: list[Member]) -> list[Member]:
        mask = front_mask(np.array([self._vector(m.metrics) for m in members]))
        return [m for m, keep in zip(members, mask, strict=True) if keep]

    def _vector(self, metrics: Mapping[str, float]) -> list[float]:
        return [metrics[name] * (-1 if way == "max" else 1) for name, way in self.objectives.items()]


def reports(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks in one result: the untrained one under ``epoch_0``, and the epoch's own unless it failed."""
    return [r for r in (result.get("epoch_0"), None if result.get("failed") else result) if r]


def measured(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers a trial reported, its method's own among them, without what Ray adds to a result."""
    return {name: report[name] for name in [*METRIC_NAMES, *report.get("measures", ())] if name in report}
