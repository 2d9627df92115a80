"""The callback that writes the ledger, from which the archive is restored and MLflow's record is delivered.

It stands first in Ray's list: what the others hear is on disk. It never waits for MLflow. Where the disk is full it ends the
search as Ctrl-C does.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.archive import measured, reports
from search.failures import cause_of
from search.front import Front
from search.interrupt import stop_search
from search.ledger import Ledger
from search.outcome import outcome_of
from search.recorder import Recorder

__all__ = ["Tracking", "record_place", "tracking_uri", "without_password"]


def tracking_uri(given: str | None, root: Path) -> str:
    """``given``, else MLFLOW_TRACKING_URI, else an SQLite file at the root of the results, absolute because workers change their folder."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def record_place(
    given: str | None, root: Path, say: Callable[[str], None], known: str | None = None
) -> tuple[str, str | None]:
    """The tracking URI, and where a new experiment there keeps its artifacts (None: where the server says).

    ``known``: where the record of a study that goes on is; it stays there, whatever the environment says by now, unless it was a file that
    is gone. A line says so where MLFLOW_TRACKING_URI decides, which may have been set for something else.
    """
    own = f"sqlite:///{root / 'mlflow.db'}"
    if known and known.startswith("sqlite:///") and not Path(known.removeprefix("sqlite:///")).exists():
        known = own
    uri = given or known or tracking_uri(None, root)
    if uri not in (own, given, known):
        say(f"MLFLOW_TRACKING_URI = {without_password(uri)}: the record goes there; --tracking-uri wins over it")
    return uri, (root / "mlartifacts").as_uri() if uri == own else None


def without_password(uri: str) -> str:
    """As it may be shown."""
    return re.sub(r"(?<=//)([^/@:]*):[^/@]*@", r"\1:***@", uri)


class Tracking(Callback):
    """Ray's callback for the record. ``expect``, ``begin`` and ``finish`` belong to the study itself."""

    def __init__(self, ledger: Ledger, recorder: Recorder) -> None:
        self.ledger, self.recorder = ledger, recorder
        self.study_id = uuid.uuid4().hex
        self._resumed = self._stopped = False
        self._objectives: list[str] = []
        self._epochs = 0
        self._tags: dict[str, str] = {}
        self._seen: set[tuple[str, int]] = set()

    def __reduce__(self) -> Any:
        """Ray keeps callbacks with the experiment; a resumed study makes new ones from its ledger."""
        return (Callback, ())

    def resume(self, past: Iterable[Mapping[str, Any]]) -> None:
        """Go on in the same runs: ``past`` is what the ledger holds."""
        for entry in past:
            if entry["event"] == "study":
                self.study_id, self._resumed = entry["study_id"], True
            if entry["event"] == "result":
                self._seen |= {(entry["trial"], int(r["metrics"]["epoch"])) for r in entry["reports"]}

    def expect(self, objectives: list[str], epochs: int, tags: Mapping[str, str]) -> None:
        """What a trial must report to be done, and the tags of every run: data and split."""
        self._objectives, self._epochs = objectives, epochs
        self._tags = {**tags, "study_id": self.study_id}

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, str], files: list[str]) -> None:
        """The parent run; ``files`` of the study's folder go with it."""
        self._write("study", study_id=self.study_id, params=dict(params), tags=dict(tags), files=files)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A child run, once a trial however often it is restarted."""
        self._write("start", trial=trial.trial_id, name=str(trial), config=dict(trial.config), tags=self._tags)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Every network that was measured; ``again`` where a restarted trial repeats its epoch."""
        told = []
        for report in reports(result):
            metrics, mark = measured(report), (trial.trial_id, int(report["epoch"]))
            about = {"artifact": report["artifact"], "evaluation": report.get("evaluation") or {}}
            told.append({"metrics": metrics, **about, "again": mark in self._seen})
            self._seen.add(mark)
        facts = {"epoch": int(result.get("epoch", 0)), "failed": bool(result.get("failed"))}
        self._write("result", trial=trial.trial_id, **facts, reason=str(result.get("reason", "")), reports=told)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """FINISHED, or FAILED where a number was not finite."""
        self.end(trial.trial_id, trial.last_result, False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """FAILED, with what the crash was."""
        self.end(trial.trial_id, trial.last_result, True, cause_of(trial))

    def end(self, trial_id: str, result: Mapping[str, Any] | None, error: bool, reason: str = "") -> None:
        """How a trial ended, by its last result."""
        outcome = outcome_of(result, error, self._epochs, self._objectives)
        reason = reason or str((result or {}).get("reason") or "")
        self._write("end", trial=trial_id, end=outcome.value, reason=reason)

    def repeat(self, **facts: Any) -> None:
        """A trial that was trained again with another seed."""
        self._write("repeat", **facts, tags=self._tags)

    def finish(self, front: Front, files: list[Path], epochs_spent: int) -> None:
        """The front, its files and networks, and whether the study is to go on."""
        epochs: dict[str, list[str]] = {}
        for member in front:
            epochs.setdefault(member.trial_id, []).append(str(member.epoch))
        metrics = {"hypervolume": front.hypervolume, "front_size": len(front), "epochs_spent": epochs_spent}
        metrics |= {"refused": front.about["refused"]} if "refused" in front.about else {}
        metrics |= {"dense_test_accuracy": front.dense["test_accuracy"]} if "test_accuracy" in front.dense else {}
        metrics |= {f"best_{name}": value for name, value in front.best().items()}
        self._write(
            "front",
            marks=front.about.get("marks", {}),
            pareto={trial: ",".join(numbers) for trial, numbers in epochs.items()},
            files=[file.name for file in files],
            networks=[member.artifact for member in front],
            metrics=metrics,
            interrupted=front.interrupted,
            resumed=self._resumed,
        )

    def _write(self, event: str, **facts: Any) -> None:
        self.ledger.append(event, **facts)
        self.recorder.wake()
        if self.ledger.behind and event in ("start", "result", "end") and not self._stopped:
            self._stopped = True  # a full disk: what trials would do now cannot be kept
            stop_search()
