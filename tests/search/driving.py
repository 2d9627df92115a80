"""A search in processes of its own, for tests that end them in every way and count what is left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
from mlflow import MlflowClient

from search.delivery import PARENT
from search.searcher import open_storage

ROOT = Path(__file__).parents[2]


def children(pid):
    """Processes that another began."""
    return _pids("-P", pid)


def end_process(pid, number=signal.SIGKILL):
    """One that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _pids(*words):
    found = subprocess.run(["pgrep", *map(str, words)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


class Driver:
    """One search, begun and gone on with by a process after another, with the log that its trials write."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "log.jsonl"
        self.study = folder / "results" / "study"
        self.log.touch()
        self.process = None

    def begin(self, *words, seconds=0.4):
        network = f"{{name: 'tests.search.counting:Counting', path: {self.log}, seconds: {seconds}}}"
        return self.go("--space", "smoke", "--name", "study", "--set", f"task.network={network}", *words)

    def go(self, *words, terminal=subprocess.PIPE):
        words = [
            sys.executable,
            str(ROOT / "tuner.py"),
            *words,
            "--no-report",
            "--results",
            str(self.folder / "results"),
        ]
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environment, text=True, stdout=terminal, stderr=terminal, start_new_session=True
        )

    def resume(self, **where):
        return self.go("--resume", "study", **where)

    def until_begun(self, seconds=60):
        """Until the study has its folder."""
        deadline = time.monotonic() + seconds
        while not (self.study / "study.yaml").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def until(self, epochs, lines=None, seconds=240):
        """Until so many epochs were begun, in all, or among ``lines()``."""
        deadline = time.monotonic() + seconds
        while len((lines or self.lines)()) < epochs:
            assert time.monotonic() < deadline, self.end()
            assert self.process.poll() is None, self.end()
            time.sleep(0.05)

    def kill(self, number=signal.SIGKILL):
        """The exit code, and what was said."""
        self.process.send_signal(number)
        return self.end()

    def kill_all(self, number):
        """As a service's manager ends it: every process of the session hears it, the driver last."""
        found = _pids("-s", self.process.pid)
        assert len(found) > 4, "Ray's processes and workers"
        for pid in sorted(found, key=lambda pid: pid == self.process.pid):
            end_process(pid, number)
        return self.end()

    def kill_raylet(self):
        """Ray's own process of this node."""
        (raylet,) = _pids("-P", self.process.pid, "raylet")
        os.kill(raylet, signal.SIGKILL)
        return self.end()

    def end(self):
        out, err = self.process.communicate(timeout=200)
        return self.process.returncode, out, err

    def lines(self):
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def epochs(self):
        return [(line["trial"], line["epoch"]) for line in self.lines()]

    def optuna(self):
        study = optuna.load_study(study_name="smoke", storage=open_storage(self.study))
        return {trial.user_attrs["trial_id"]: trial for trial in study.trials}

    def mlflow(self, uri=None):
        """By trial: status and the epochs of its accuracies; the parent's status under ``""``."""
        client = MlflowClient(uri or f"sqlite:///{self.study.parent / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("ratefront").experiment_id
        found = {}
        for found_run in client.search_runs([experiment]):
            name = found_run.data.tags["trial_id"] if PARENT in found_run.data.tags else ""
            assert name not in found, "one run a trial"
            steps = [metric.step for metric in client.get_metric_history(found_run.info.run_id, "accuracy")]
            found[name] = (found_run.info.status, steps)
        return found

    def table(self):
        with open(self.study / "trials.csv", newline="") as file:
            return {row["trial_id"]: row for row in csv.DictReader(file)}


def whole(driver, trials, epochs, kills):
    """Every store holds every epoch of every trial once."""
    told, rows, runs = driver.optuna(), driver.table(), driver.mlflow()
    assert len(told) == len(rows) == len(runs) - 1 == trials
    assert set(told) == set(rows) == set(runs) - {""}
    assert {trial.state.name for trial in told.values()} == {"COMPLETE"}
    assert {(row["end"], row["epoch"]) for row in rows.values()} == {("done", str(epochs))}
    assert runs.pop("")[0] == "FINISHED"
    assert all(one == ("FINISHED", list(range(epochs + 1))) for one in runs.values())
    begun = Counter(driver.epochs())
    assert set(begun) == {(trial, epoch) for trial in rows for epoch in range(1, epochs + 1)}
    again = sum(begun.values()) - len(begun)
    assert again <= kills * 2 * 2, "a kill costs a trial the epoch that ran, and one not yet kept"
    kept = {f"artifacts/{path.name}" for path in (driver.study / "artifacts").iterdir()}
    assert kept == {row["artifact"] for row in json.loads((driver.study / "front.json").read_text())}
