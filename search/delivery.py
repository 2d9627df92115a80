"""The ledger as MLflow's record: one parent run a study, one child run a trial, each line delivered once, in order.

What was delivered is in ``mlflow.jsonl`` beside the ledger. A line may come twice, when a server or this process died before it
was noted: runs are looked up by tag before they are made, and MLflow takes the same number of the same moment once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.folder import ARTIFACTS
from search.ledger import entries, mend
from search.outcome import Outcome

__all__ = ["PARENT", "Delivery", "TrackingCard", "record_of"]

PARENT = "mlflow.parentRunId"
STATE = "mlflow.jsonl"
_STATUS = {Outcome.DONE: "FINISHED", Outcome.STOPPED: "FINISHED", Outcome.FAILED: "FAILED"}


@dataclass(frozen=True)
class TrackingCard:
    """What the record is called, and where a new experiment keeps its artifacts (None: where the server says)."""

    study: str
    experiment: str
    artifact_root: str | None


def record_of(folder: Path) -> str | None:
    """The URI that the study's record went to last; None where none was delivered yet."""
    return next((str(entry["uri"]) for entry, _ in reversed(list(entries(folder / STATE)))), None)


class Delivery:
    """What stands at one ``uri`` already, and how the next line gets there. ``position``: the byte behind the last one."""

    def __init__(self, folder: Path, uri: str, card: TrackingCard) -> None:
        self.folder, self.uri, self.card = folder, uri, card
        self.position = 0
        self.runs: dict[str, str] = {}
        self._experiment = ""
        mend(folder / STATE)
        for entry, _ in entries(folder / STATE):
            if entry["uri"] == uri:
                self.position = entry.get("position", self.position)
                self.runs |= entry.get("runs", {})

    def apply(self, client: Any, entry: Mapping[str, Any]) -> None:
        """One line of the ledger; LookupError where it rests on a run that was refused."""
        if act := getattr(self, f"_{entry['event']}", None):
            act(client, entry)

    def passed(self, position: int) -> None:
        """Everything before this byte of the ledger is delivered, or was refused."""
        self.position = position
        self._note({"position": position})

    def _study(self, client: Any, entry: Mapping[str, Any]) -> None:
        """The parent run; a study that goes on opens it again."""
        run = self._run(client, "", self.card.study, {**entry["tags"], "study_id": entry["study_id"]})
        if client.get_run(run).info.status != "RUNNING":
            client.update_run(run, status="RUNNING")
        client.set_tag(run, "end", "running")
        self._upload(client, entry["files"])
        _log(client, run, entry["at"], params=entry["params"])

    def _start(self, client: Any, entry: Mapping[str, Any]) -> None:
        config, trial = entry["config"], entry["trial"]
        known = trial in self.runs
        tags = {**entry["tags"], "trial_id": trial, "method": config["method"], "kind": "trial"}
        run = self._run(client, trial, entry["name"], {**tags, PARENT: self.runs[""]})
        if known and client.get_run(run).info.status != "RUNNING":
            client.update_run(run, status="RUNNING")
        params = {name: config[name] for name in ("method", "seed", "epochs")}
        _log(client, run, entry["at"], params={**params, **config["point"]})

    def _result(self, client: Any, entry: Mapping[str, Any]) -> None:
        """All of an epoch's metrics in one batch, at the epoch as step."""
        for report in entry["reports"]:
            if not report["again"]:
                _log(client, self.runs[entry["trial"]], entry["at"], metrics=report["metrics"])

    def _end(self, client: Any, entry: Mapping[str, Any]) -> None:
        run, tags = self.runs[entry["trial"]], {"end": entry["end"]}
        _log(client, run, entry["at"], tags=tags | ({"reason": entry["reason"]} if entry["reason"] else {}))
        client.set_terminated(run, _STATUS[Outcome(entry["end"])], end_time=entry["at"])

    def _repeat(self, client: Any, entry: Mapping[str, Any]) -> None:
        """A trial trained again with another seed: a child run of its own kind."""
        config, trial, name = entry["config"], entry["trial"], f"{entry['trial']}/{entry['seed']}"
        tags = {**entry["tags"], "trial_id": name, "repeats": trial, "method": config["method"], "kind": "repeat"}
        run = self._run(client, name, f"{config['method']}_{name}", {**tags, PARENT: self.runs[""]})
        params = {name: config[name] for name in ("method", "seed", "epochs")}
        _log(client, run, entry["at"], params={**params, **config["point"]})
        for metrics in entry["metrics"]:
            _log(client, run, entry["at"], metrics=metrics)
        outcome = Outcome.DONE if len(entry["metrics"]) == len(entry["epochs"]) else Outcome.FAILED
        client.set_tag(run, "end", outcome.value)
        client.set_terminated(run, _STATUS[outcome], end_time=entry["at"])

    def _front(self, client: Any, entry: Mapping[str, Any]) -> None:
        """The front's files as artifacts of the parent, the parent's own end, and what every trial came to."""
        self._upload(client, entry["files"])
        for name in entry["networks"]:
            self._upload(client, [name], ARTIFACTS)
        _log(client, self.runs[""], entry["at"], metrics=entry["metrics"])
        self._mark(client, entry)
        if entry["interrupted"]:  # runs stay open for the study to go on
            client.set_tag(self.runs[""], "end", "interrupted")
        else:
            client.set_tag(self.runs[""], "end", Outcome.DONE.value)
            client.set_terminated(self.runs[""], "FINISHED", end_time=entry["at"])

    def _mark(self, client: Any, entry: Mapping[str, Any]) -> None:
        """Of every trial the epochs that are on the front, its rank, and its best metrics under their own names."""
        for trial, run in self.runs.items():
            best = dict(entry.get("marks", {}).get(trial, {}))
            on_front = entry["pareto"].get(trial, "")
            if not trial or "/" in trial or not (on_front or best or entry["resumed"]):
                continue
            tags = {"pareto": "true", "pareto_epochs": on_front} if on_front else {"pareto": "false"}
            tags |= {"rank": str(best.pop("rank"))} if best else {}
            _log(client, run, entry["at"], metrics=best, tags=tags)

    def _upload(self, client: Any, files: list[str], into: str | None = None) -> None:
        """Files of the study's folder; one that a later front threw away since is not there any more."""
        for name in files:
            if (self.folder / name).exists():
                client.log_artifact(self.runs[""], str(self.folder / name), into)

    def _run(self, client: Any, trial: str, name: str, tags: Mapping[str, str]) -> str:
        """The run of a trial, or of the study itself (``""``): known, found by its tags, or made."""
        if trial not in self.runs:
            self._experiment = self._experiment or _experiment(client, self.card)
            wanted = [("study_id", tags["study_id"]), ("kind", tags["kind"])] + ([("trial_id", trial)] if trial else [])
            found = client.search_runs([self._experiment], " and ".join(f"tags.{k} = '{v}'" for k, v in wanted))
            run = found[0] if found else client.create_run(self._experiment, tags=dict(tags), run_name=name)
            self.runs[trial] = run.info.run_id
            self._note({"runs": {trial: run.info.run_id}})
        return self.runs[trial]

    def _note(self, facts: Mapping[str, Any]) -> None:
        """A full disk: what is not noted is delivered again, which changes nothing."""
        with suppress(OSError), (self.folder / STATE).open("ab", buffering=0) as file:
            file.write(json.dumps({"uri": self.uri, **facts}).encode() + b"\n")


def _experiment(client: Any, card: TrackingCard) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(card.experiment)
    if found is None:
        try:
            return str(client.create_experiment(card.experiment, artifact_location=card.artifact_root))
        except MlflowException:  # another study made it meanwhile, or it cannot be made
            found = client.get_experiment_by_name(card.experiment)
            if found is None:
                raise
    return str(found.experiment_id)


def _log(
    client: Any,
    run: str,
    stamp: int,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    step = int((metrics or {}).get("epoch", 0))
    client.log_batch(
        run,
        metrics=[Metric(k, float(v), stamp, step) for k, v in (metrics or {}).items()],
        params=[Param(k, str(v)[:6000]) for k, v in (params or {}).items()],
        tags=[RunTag(k, str(v)[:8000]) for k, v in (tags or {}).items()],
    )
