"""The archive: hears of every network as it is measured, keeps the front, and throws away the files of the rest."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Callback
from ray.tune.experiment import Trial

from analysis.pareto import NEAR_CHANCE, Scale, front_mask
from compress.metrics import METRIC_NAMES
from search.failures import cause_of
from search.files import write_text
from search.folder import ARTIFACTS
from search.front import Front, Member
from search.keeping import Keep, Keeping
from search.outcome import outcome_of

__all__ = ["Archive", "measured", "reports"]


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
        self._begin(trial.trial_id, trial.config["point"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """One epoch, and with the first the untrained network too."""
        self._begin(trial.trial_id, trial.config["point"])
        networks = [(measured(r), r["artifact"], r.get("evaluation")) for r in reports(result)]
        if self._hear(trial.trial_id, result, networks):
            with suppress(OSError):  # a full disk does not end a search; the next change writes again
                write_text(self.folder / "front.json", self.front({}).json())

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended in good order, early or not."""
        self._end(trial, False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial crashed for good."""
        self._end(trial, True)
        self.trials[trial.trial_id]["reason"] = cause_of(trial)

    def replay(self, past: Iterable[Mapping[str, Any]]) -> list[float]:
        """Know again what the ledger of a study holds; the hypervolume after each trial's end.

        No file is removed, since a later line may want it.
        """
        history = []
        with self.keeping.sparing():
            for entry in past:
                if entry["event"] == "start":
                    self._begin(entry["trial"], entry["config"]["point"])["end"] = "running"
                elif entry["event"] == "result":
                    networks = [(r["metrics"], r["artifact"], r["evaluation"]) for r in entry["reports"]]
                    self._hear(entry["trial"], entry, networks)
                elif entry["event"] == "end":
                    self.trials[entry["trial"]] |= {name: entry[name] for name in ("end", "reason") if entry.get(name)}
                    history.append(self.hypervolume)
        return history

    def forget_lost(self) -> list[str]:
        """Drop members whose files are gone; which they were."""
        lost = [m.artifact for m in self.members if not (self.folder / m.artifact).exists()]
        self.members = [m for m in self.members if m.artifact not in lost]
        self.hypervolume = self.scale.hypervolume([m.metrics for m in self.members])
        return lost

    def _begin(self, trial_id: str, point: Mapping[str, Any]) -> dict[str, Any]:
        return self.trials.setdefault(trial_id, {"end": "running", "epoch": 0, "config": dict(point)})

    def _hear(self, trial_id: str, result: Mapping[str, Any], networks: list[tuple[Any, str, Any]]) -> bool:
        """What one result tells; True where the front changed."""
        row, changed = self.trials[trial_id], False
        row["epoch"] = max(row["epoch"], int(result.get("epoch", 0)))
        for metrics, artifact, evaluation in networks:
            row["metrics"] = metrics
            changed |= self.add(trial_id, metrics, artifact, row["config"], evaluation)
        if result.get("failed"):
            row["reason"] = result.get("reason", "")
        return changed

    def _end(self, trial: Trial, error: bool) -> None:
        row = self._begin(trial.trial_id, trial.config["point"])
        row["end"] = outcome_of(trial.last_result, error, self.epochs, list(self.objectives)).value

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
