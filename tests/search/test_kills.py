"""Searches that are killed and go on: no epoch is lost, no trial is run twice, and the stores agree."""

from __future__ import annotations

import csv
import gc
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

import tuner
from search import Settings, StudyError, run
from search.delivery import PARENT
from search.searcher import open_storage
from search_spaces import Space

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
        words = [sys.executable, str(ROOT / "tuner.py"), *words, "--results", str(self.folder / "results")]
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

    def until(self, epochs, seconds=240):
        """Until so many epochs were begun, in all."""
        deadline = time.monotonic() + seconds
        while len(self.epochs()) < epochs:
            assert time.monotonic() < deadline, self.end()
            assert self.process.poll() is None, self.end()
            time.sleep(0.05)

    def kill(self, number=signal.SIGKILL):
        """The exit code, and what was said."""
        self.process.send_signal(number)
        return self.end()

    def kill_raylet(self):
        """Ray's own process of this node."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "raylet"], capture_output=True, text=True)
        os.kill(int(found.stdout), signal.SIGKILL)
        return self.end()

    def end(self):
        out, err = self.process.communicate(timeout=200)
        return self.process.returncode, out, err

    def epochs(self):
        text = self.log.read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [(line["trial"], line["epoch"]) for line in map(json.loads, lines)]

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


@pytest.fixture
def driver(tmp_path):
    made = Driver(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.communicate()


class Screen:
    """A terminal, and what was shown on it."""

    def __init__(self):
        self.screen, self.terminal = pty.openpty()
        self.shown = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with suppress(OSError):
            while piece := os.read(self.screen, 65536):
                self.shown.append(piece)

    def text(self):
        os.close(self.terminal)
        self.reader.join(10)
        os.close(self.screen)
        return b"".join(self.shown).decode()


def test_kills_of_driver_and_node_lose_nothing_and_repeat_no_more_than_an_epoch(driver):
    """One search: killed before its first trial, in mid-run, with its raylet, and by SIGTERM in a terminal."""
    trials, epochs = 4, 7
    driver.begin("--trials", str(trials), "--epochs", str(epochs), "--sampler", "random", seconds=0.3)
    driver.until_begun()
    driver.kill()
    assert driver.epochs() == []
    driver.resume()
    driver.until(4)
    code, out, _ = driver.kill()
    assert code == -signal.SIGKILL
    assert "resumed" not in out
    driver.resume()
    driver.until(9)
    code, out, err = driver.kill_raylet()
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith("ratefront: Ray's node on this machine has died")
    assert "resumed: of " in out
    assert "raylet" not in out
    screen = Screen()
    driver.resume(terminal=screen.terminal)
    driver.until(15)
    assert driver.kill(signal.SIGTERM)[0] == 3
    text = screen.text()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") > 0
    assert "ratefront: interrupted; above is what was reached, --resume study goes on" in text
    assert json.loads((driver.study / "front.json").read_text())
    driver.resume()
    code, out, err = driver.end()
    assert (code, err) == (0, "")
    assert f"{trials}/{trials} trials done" in out
    whole(driver, trials, epochs, kills=3)


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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 40 MB of its own, where this process may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def fill(folder):
    """Leave no room."""
    for size in (1 << 20, 1 << 12, 1):
        with suppress(OSError), (folder / f"filler{size}").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * size)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves files open where it fails
def test_a_full_disk_is_one_line_and_the_search_goes_on_when_there_is_room(own_ray, small_disk, capfd, monkeypatch):
    driver = Driver(small_disk)
    driver.log = small_disk.parent / "log.jsonl"
    driver.log.touch()

    def fill_in_mid_run():
        while len(driver.epochs()) < 4:
            time.sleep(0.02)
        fill(small_disk)

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(driver, "go", lambda *words: tuner.main([*words, "--results", str(small_disk / "results")]))
    filler = threading.Thread(target=fill_in_mid_run)
    filler.start()
    assert driver.begin("--trials", "3", "--epochs", "9", seconds=0.1) == 1
    filler.join()
    err = capfd.readouterr().err
    assert err.count("\n") == 1, err
    assert "no space left on the disk; make room, then --resume study goes on" in err
    for path in small_disk.glob("filler*"):
        path.unlink()
    assert driver.resume() == 0
    assert capfd.readouterr().err == ""
    assert {(row["end"], row["epoch"]) for row in driver.table().values()} == {("done", "9")}
    runs = driver.mlflow()
    assert len(runs) == 4
    assert all(one == ("FINISHED", list(range(10))) for name, one in runs.items() if name)
    gc.collect()


@pytest.fixture(scope="module")
def study(own_ray, tmp_path_factory):
    """Run the smoke space again and again in one folder."""
    root = tmp_path_factory.mktemp("again")

    def search(name="study", changes=None, **settings):
        space = Space.load("smoke", {"budget.trials": 2, "budget.epochs": 2, **(changes or {})})
        return run(space, Settings(name=name, results=root, **settings))

    search.root = root
    return search


def test_a_finished_study_runs_nothing_again_is_extended_and_stays_what_it_was(study, capsys):
    first = study()
    with pytest.raises(StudyError) as caught:
        study(resume=True, changes={"budget.epochs": 3, "seed": 1, "budget.trials": 9})
    rule = "it is another study: budget.epochs was 2, is 3; seed was 0, is 1"
    assert str(caught.value) == f"resume = 'study': {rule}"
    capsys.readouterr()
    again = study(resume=True)
    assert "resumed: of 2 trials 2 done ended; none was running" in capsys.readouterr().out
    assert again.json() == first.json()
    more = study(resume=True, changes={"budget.trials": 3})
    assert more.about["trials"] == 3
    assert more.hypervolume >= first.hypervolume
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("ratefront").experiment_id])
    assert [one.info.status for one in runs] == ["FINISHED"] * 4


def test_a_tracking_server_that_dies_in_mid_run_has_every_epoch_once(study, tracking_server):
    folder = study.root / "served"

    def restart():
        while not (folder / "mlflow.jsonl").exists():
            time.sleep(0.05)
        tracking_server.kill()
        tracking_server.start()  # which takes seconds

    thread = threading.Thread(target=restart)
    thread.start()
    changes = {"budget.trials": 3, "budget.epochs": 12}
    study("served", changes=changes, tracking_uri=tracking_server.url)
    thread.join()
    study("served", changes=changes, tracking_uri=tracking_server.url, resume=True)
    client = MlflowClient(tracking_server.url)
    runs = client.search_runs([client.get_experiment_by_name("ratefront").experiment_id])
    children = [one for one in runs if PARENT in one.data.tags]
    assert (len(runs), len(children)) == (4, 3)
    assert {one.info.status for one in runs} == {"FINISHED"}
    for child in children:
        history = client.get_metric_history(child.info.run_id, "accuracy")
        assert [metric.step for metric in history] == list(range(13))
