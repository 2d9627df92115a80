"""The MLflow record: one parent run a study, one child run a trial, metrics in batches, the front at the end.

A callback on the driver; it only queues (``recorder.py``), and never raises.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.archive import measured, reports
from search.folder import ARTIFACTS
from search.front import Front
from search.outcome import Outcome, outcome_of
from search.recorder import Recorder

__all__ = ["Tracking", "TrackingCard", "tracking_uri"]

PARENT = "mlflow.parentRunId"
_STATUS = {Outcome.DONE: "FINISHED", Outcome.STOPPED: "FINISHED", Outcome.FAILED: "FAILED"}


def tracking_uri(given: str | None, root: Path) -> str:
    """``given``, else an SQLite file at the root of the results, absolute because workers change their folder."""
    return given or f"sqlite:///{root / 'mlflow.db'}"


@dataclass(frozen=True)
class TrackingCard:
    """What the record is called, and where a new experiment keeps its artifacts (None: where the server says)."""

    study: str
    experiment: str
    artifact_root: str | None


class Tracking(Callback):
    """Ray's callback for the record. ``expect``, ``begin`` and ``finish`` belong to the study itself."""

    def __init__(self, recorder: Recorder, card: TrackingCard) -> None:
        self.recorder, self.card = recorder, card
        self._runs: dict[str, str] = {}
        self._experiment = self._parent = ""
        self._objectives: list[str] = []
        self._epochs = 0
        self._tags: dict[str, str] = {}

    def expect(self, objectives: list[str], epochs: int, tags: Mapping[str, str]) -> None:
        """What a trial must report to be done, and the tags of every run: data and split."""
        self._objectives, self._epochs, self._tags = objectives, epochs, dict(tags)

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, str], study_yaml: Path) -> None:
        """Open the parent run."""

        def job(client: Any) -> None:
            self._experiment = self._experiment or _experiment(client, self.card)
            if not self._parent:
                run = client.create_run(self._experiment, tags=dict(tags), run_name=self.card.study)
                self._parent = run.info.run_id
            _log(client, self._parent, params=params)
            client.log_artifact(self._parent, str(study_yaml))

        self.recorder.submit(job)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A child run, once a trial however often it is restarted."""
        trial_id, name = trial.trial_id, str(trial)
        config = dict(trial.config)
        tags = {**self._tags, "trial_id": trial_id, "method": config["method"], "kind": "trial"}

        def job(client: Any) -> None:
            if trial_id not in self._runs:
                run = client.create_run(self._experiment, tags={**tags, PARENT: self._parent}, run_name=name)
                self._runs[trial_id] = run.info.run_id
            params = {
                "method": config["method"],
                "seed": config["seed"],
                "epochs": config["epochs"],
                **config["point"],
            }
            _log(client, self._runs[trial_id], params=params)

        self.recorder.submit(job)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """All of an epoch's metrics in one batch, at the epoch as step."""
        for report in reports(result):
            self._metrics(trial.trial_id, measured(report))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """FINISHED, or FAILED where a number was not finite."""
        self._end(trial, False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """FAILED."""
        self._end(trial, True)

    def finish(self, front: Front, files: list[Path], epochs_spent: int) -> None:
        """The front as tags of its trials, its files and networks as artifacts of the parent, and the parent's own end."""
        epochs: dict[str, list[str]] = {}
        for member in front:
            epochs.setdefault(member.trial_id, []).append(str(member.epoch))
        metrics = {"hypervolume": front.hypervolume, "front_size": len(front), "epochs_spent": epochs_spent}
        metrics |= {"dense_test_accuracy": front.dense["test_accuracy"]} if "test_accuracy" in front.dense else {}

        def job(client: Any) -> None:
            for trial_id, run in self._runs.items():
                if trial_id in epochs:
                    _log(client, run, tags={"pareto": "true", "pareto_epochs": ",".join(epochs[trial_id])})
            for file in files:
                client.log_artifact(self._parent, str(file))
            for member in front:
                client.log_artifact(self._parent, str(front.folder / member.artifact), ARTIFACTS)
            _log(client, self._parent, metrics=metrics)
            if front.interrupted:  # runs stay open for the study to go on
                client.set_tag(self._parent, "end", "interrupted")
            else:
                client.set_tag(self._parent, "end", Outcome.DONE.value)
                client.set_terminated(self._parent, "FINISHED")

        self.recorder.submit(job)

    def _metrics(self, trial_id: str, metrics: Mapping[str, float]) -> None:
        stamp = int(time.time() * 1000)
        self.recorder.submit(lambda client: _log(client, self._runs[trial_id], metrics=metrics, stamp=stamp))

    def _end(self, trial: Trial, error: bool) -> None:
        trial_id, result = trial.trial_id, dict(trial.last_result or {})
        outcome = outcome_of(result, error, self._epochs, self._objectives)

        def job(client: Any) -> None:
            tags = {"end": outcome.value} | ({"reason": str(result["reason"])} if result.get("reason") else {})
            _log(client, self._runs[trial_id], tags=tags)
            client.set_terminated(self._runs[trial_id], _STATUS[outcome])

        self.recorder.submit(job)


def _experiment(client: Any, card: TrackingCard) -> str:
    found = client.get_experiment_by_name(card.experiment)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(card.experiment, artifact_location=card.artifact_root))


def _log(
    client: Any,
    run: str,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    stamp: int | None = None,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now, step = stamp or int(time.time() * 1000), int((metrics or {}).get("epoch", 0))
    client.log_batch(
        run,
        metrics=[Metric(k, float(v), now, step) for k, v in (metrics or {}).items()],
        params=[Param(k, str(v)[:6000]) for k, v in (params or {}).items()],
        tags=[RunTag(k, str(v)[:8000]) for k, v in (tags or {}).items()],
    )
