"""Searches that are killed and go on: no epoch is lost, no trial is run twice, and the stores agree."""

from __future__ import annotations

import gc
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from mlflow import MlflowClient

import tuner
from search import Settings, StudyError, run
from search.delivery import PARENT
from search_spaces import Space
from tests.search.driving import Driver, whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
