"""The thread that writes the record: against a real store, one that is not there, and one that goes away."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from search.recorder import Recorder


@pytest.fixture
def said():
    return []


@pytest.fixture
def recorder(record_file, said):
    running = Recorder(f"sqlite:///{record_file}", said.append)
    yield running
    running.close(0.1)


@pytest.fixture
def experiment(record_file, request):
    """An experiment of the test's own."""
    client = MlflowClient(f"sqlite:///{record_file}")
    return client, client.create_experiment(request.node.name, artifact_location=(record_file.parent / "a").as_uri())


def test_records_arrive_in_order(recorder, experiment, said):
    client, number = experiment
    kept = {}
    recorder.submit(lambda c: kept.update(run=c.create_run(number).info.run_id))
    for step in range(20):
        recorder.submit(lambda c, step=step: c.log_metric(kept["run"], "loss", 20 - step, step=step))
    recorder.submit(lambda c: c.set_terminated(kept["run"]))
    assert recorder.close() == 0
    assert said == []
    history = client.get_metric_history(kept["run"], "loss")
    assert [(m.step, m.value) for m in history] == [(n, 20 - n) for n in range(20)]
    assert [m.timestamp for m in history] == sorted(m.timestamp for m in history)
    assert client.get_run(kept["run"]).info.status == "FINISHED"


def test_what_the_store_refuses_is_dropped_with_a_line_and_the_rest_goes_on(recorder, experiment, said):
    client, number = experiment
    run = client.create_run(number).info.run_id
    recorder.submit(lambda c: c.log_param(run, "bits", 4))
    recorder.submit(lambda c: c.log_param(run, "bits", 8))
    recorder.submit(lambda c: c.log_param(run, "depth", 2))
    assert recorder.close() == 0
    assert client.get_run(run).data.params == {"bits": "4", "depth": "2"}
    (line,) = said
    assert "refused a record" in line
    assert "\n" not in line


def test_a_record_that_rests_on_a_refused_one_is_dropped_too(recorder, experiment, said):
    client, number = experiment
    client.delete_experiment(number)
    runs = {}
    recorder.submit(lambda c: runs.update(parent=c.create_run(number).info.run_id))
    recorder.submit(lambda c: c.set_tag(runs["parent"], "end", "done"))
    started = time.monotonic()
    assert recorder.close() == 0
    assert time.monotonic() - started < 10
    (line,) = said
    assert "refused a record" in line


def test_what_fails_for_a_while_is_tried_again_and_keeps_its_place(recorder, said):
    done = []

    def stumbling(client):
        done.append("try")
        if len(done) < 3:
            raise ConnectionError("no route")

    recorder.submit(stumbling)
    recorder.submit(lambda client: done.append("next"))
    deadline = time.monotonic() + 15
    while "next" not in done and time.monotonic() < deadline:
        time.sleep(0.05)
    assert done == ["try", "try", "try", "next"]
    assert len(said) == 1
    assert "does not answer (no route); the search goes on without it" in said[0]
    done.clear()
    recorder.submit(stumbling)
    assert recorder.close() == 1, "a second try while closing is the last"
    assert len([line for line in said if "does not answer" in line]) == 1


def test_submitting_takes_no_time(recorder):
    recorder.submit(lambda client: time.sleep(5))
    started = time.monotonic()
    for _ in range(100):
        recorder.submit(lambda client: None)
    assert time.monotonic() - started < 2


def test_closing_waits_no_longer_than_asked(recorder, said):
    recorder.submit(lambda client: time.sleep(4))
    recorder.submit(lambda client: None)
    started = time.monotonic()
    assert recorder.close(0.3) == 2
    assert time.monotonic() - started < 2
    assert "2 records were not delivered" in said[-1]


def test_a_server_that_is_not_there_neither_blocks_nor_raises(closed_address, said, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    recorder = Recorder(f"http://{closed_address}", said.append)
    started = time.monotonic()
    for _ in range(5):
        recorder.submit(lambda client: client.create_experiment("never"))
    assert time.monotonic() - started < 2
    assert recorder.close() == 5
    assert time.monotonic() - started < 15
    assert "does not answer" in said[0]
    assert (
        said[-1]
        == f"MLflow at http://{closed_address}: 5 records were not delivered; the study's folder holds all of them"
    )
    assert len(said) == 2
    assert all("\n" not in line for line in said)


def test_what_comes_back_from_a_snapshot_takes_records_and_drops_them(recorder):
    again = pickle.loads(pickle.dumps(recorder))
    again.submit(lambda client: pytest.fail("delivered"))
    assert again.close() == 0


@pytest.fixture
def tracking_server(tmp_path, monkeypatch):
    """A real ``mlflow server`` on a free port: (url, start, kill)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, processes = f"http://127.0.0.1:{port}", []
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--default-artifact-root", str(tmp_path / "a")]

    def start():
        words = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store]
        silent = subprocess.DEVNULL
        processes.append(subprocess.Popen(words, stdout=silent, stderr=silent, start_new_session=True))
        wait_for(url)

    def kill():
        os.killpg(processes[-1].pid, 9)
        processes[-1].wait()

    start()
    yield url, start, kill
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def wait_for(url, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer")


@pytest.mark.slow
def test_a_server_killed_midway_stops_nothing_and_gets_the_rest_when_it_is_back(tracking_server, said):
    url, start, kill = tracking_server
    recorder = Recorder(url, said.append)
    kept = {}
    recorder.submit(lambda c: kept.update(run=c.create_run("0").info.run_id))
    while "run" not in kept:
        time.sleep(0.05)
    kill()
    started = time.monotonic()
    for step in range(10):
        recorder.submit(lambda c, step=step: c.log_metric(kept["run"], "loss", step, step=step))
    assert time.monotonic() - started < 2
    while not said:
        time.sleep(0.05)
    start()
    assert recorder.close(60) == 0
    assert "does not answer" in said[0]
    assert [m.step for m in MlflowClient(url).get_metric_history(kept["run"], "loss")] == list(range(10))
