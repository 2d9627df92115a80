"""MLflow's client, as far as studies need it: the parent run of a study, its child runs, its files, their histories."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.studies import BadStudy

__all__ = ["EPOCHS", "Server", "Study", "tracking_uri"]

EPOCHS = "epochs.csv.gz"
_PAGE = 1000
_NAMED = 12
_TRIAL = re.compile("[0-9A-Za-z_-]+")


def tracking_uri(given: str | None, results: Path, studies: Sequence[str] = ()) -> str:
    """``given``, else the SQLite file beside the folders of ``studies`` where they are folders, else that at the root of the
    results, as a search names it; BadStudy where there is none, or where folders lie in several places.
    """
    if given:
        return given
    roots = {os.path.dirname(os.path.abspath(name)) for name in map(os.path.expanduser, studies) if _is_study(name)}
    if len(roots) > 1:
        raise BadStudy(f"studies = {', '.join(studies)}: must lie in one folder, or be named at one --tracking-uri")
    path = Path(*roots or [os.path.abspath(os.path.expanduser(results))]) / "mlflow.db"
    if not os.path.exists(path):
        raise BadStudy(
            f"results = {str(results)!r}: no mlflow.db there; --results or --tracking-uri says where studies are"
        )
    return f"sqlite:///{path}"


def _is_study(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "study.yaml"))


@dataclass(frozen=True)
class Study:
    """A run as MLflow has it: a study's own, or one of its trials'."""

    name: str
    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, run: Any) -> Study:
        return cls(run.info.run_name or "", run.info.run_id, run.data.tags, run.data.params, run.data.metrics)


class Server:
    """Studies at one tracking URI; nothing is written. BadStudy where it does not answer or has no such experiment."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self._client = _connect(uri)
        self._folder = Path(tempfile.mkdtemp(prefix="ratefront-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        found = self._ask(self._client.get_experiment_by_name, experiment)
        if found is None:
            raise BadStudy(
                f"experiment = {experiment!r}: not at {uri}; --experiment or --tracking-uri says where studies are"
            )
        self._id = str(found.experiment_id)

    def study(self, name: str) -> Study:
        """By name, folder or run id; of several of a name the newest. BadStudy names those there."""
        wanted = Path(name).name
        found = [s for s in self.studies if wanted in (s.name, s.run_id)]
        if not found:
            names = list(dict.fromkeys(s.name for s in self.studies))
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            known = f"; valid: {', '.join(names[:_NAMED])}{more}" if names else ""
            raise BadStudy(f"study = {name!r}: not in MLflow at {self.uri}{known}")
        return found[0]

    def named(self, names: Sequence[str]) -> list[Study]:
        """The studies of these names, in that order; one that is named twice is one."""
        return list({study.run_id: study for study in map(self.study, names)}.values())

    @cached_property
    def studies(self) -> list[Study]:
        """All parent runs, the newest first."""
        return self._runs("tags.kind = 'study'")

    def trials(self, study: Study, kind: str = "trial") -> list[Study]:
        """Child runs of a study, the first first."""
        return self._runs(f"tags.`mlflow.parentRunId` = '{study.run_id}' and tags.kind = '{kind}'")[::-1]

    def parents(self, trial_id: str) -> list[Study]:
        """The studies that have a trial of this name."""
        if not _TRIAL.fullmatch(trial_id):
            return []
        runs = {run.tags.get("mlflow.parentRunId") for run in self._runs(f"tags.trial_id = '{trial_id}'")}
        return [study for study in self.studies if study.run_id in runs]

    def file(self, study: Study, name: str) -> Path | None:
        """A file of the study's run, on this machine's disk; None where it has none of that name."""
        inside = name.rpartition("/")[0] or None
        if name not in {f.path for f in self._ask(self._client.list_artifacts, study.run_id, inside)}:
            return None
        folder = self._folder / study.run_id
        folder.mkdir(exist_ok=True)
        return Path(self._ask(self._client.download_artifacts, study.run_id, name, str(folder)))

    def histories(self, trials: Sequence[Study]) -> pd.DataFrame:
        """Every epoch of these trials, from the metrics that their runs logged: slow, a question a metric and trial."""
        frames = []
        for trial in trials:
            known = {
                n: self._ask(self._client.get_metric_history, trial.run_id, n) for n in trial.metrics if n != "epoch"
            }
            columns = {name: pd.Series({m.step: m.value for m in history}) for name, history in known.items()}
            frame = pd.DataFrame(columns).rename_axis("epoch").reset_index()
            frames.append(frame.assign(trial_id=trial.tags.get("trial_id", trial.run_id)))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _runs(self, rule: str) -> list[Study]:
        found: list[Study] = []
        token: str | None = None
        while token != "":
            page = self._ask(
                self._client.search_runs,
                [self._id],
                rule,
                max_results=_PAGE,
                order_by=["start_time DESC"],
                page_token=token,
            )
            found += [Study.of(run) for run in page]
            token = page.token or ""
        return found

    def _ask(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """One line for whatever store or network raise."""
        try:
            return function(*arguments, **options)
        except Exception as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise BadStudy(f"MLflow at {self.uri} does not answer ({text})") from error


def _connect(uri: str) -> Any:
    """A client that gives up soon and leaves the terminal to us."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # of silence, in seconds; MLflow's own is 120
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return MlflowClient(tracking_uri=uri)
    except Exception as error:
        raise BadStudy(f"tracking uri = {uri!r}: {str(error).splitlines()[0]}") from error
