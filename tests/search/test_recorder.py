"""The thread that delivers the ledger: to a real store, to one that is not there, and to one that goes away."""

from __future__ import annotations

import sqlite3
import time

import pytest
from mlflow import MlflowClient

from search.delivery import TrackingCard
from search.ledger import LEDGER, Ledger
from search.recorder import Recorder


@pytest.fixture
def said():
    return []


@pytest.fixture
def opened(tmp_path, said, request):
    """``opened(uri, apply)``: a ledger, and a recorder whose lines go to ``apply`` in place of MLflow."""
    running = []

    def make(uri=f"sqlite:///{tmp_path}/nowhere.db", apply=None):
        card = TrackingCard(request.node.name, request.node.name, (tmp_path / "artifacts").as_uri())
        recorder = Recorder(tmp_path, uri, card, said.append)
        if apply:
            recorder._client = object()
            recorder.delivery.apply = lambda client, entry: apply(entry["number"])
        running.append(recorder)
        return Ledger(tmp_path / LEDGER, said.append), recorder

    yield make
    for recorder in running:
        recorder.close(0.1)


def write(ledger, recorder, numbers):
    for number in numbers:
        ledger.append("line", number=number)
        recorder.wake()


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_lines_arrive_in_order(opened, said):
    heard = []
    ledger, recorder = opened(apply=heard.append)
    write(ledger, recorder, range(50))
    assert recorder.close() == 0
    assert (heard, said) == (list(range(50)), [])


def test_what_was_delivered_is_not_told_again(opened, said):
    heard = []
    ledger, recorder = opened(apply=heard.append)
    write(ledger, recorder, [1, 2])
    recorder.close()
    ledger, recorder = opened(apply=heard.append)
    write(ledger, recorder, [3])
    assert recorder.close() == 0
    assert heard == [1, 2, 3]


def test_what_was_not_delivered_is_told_by_the_next(opened, said):
    def lost(number):
        raise ConnectionError("no route")

    ledger, recorder = opened(apply=lost)
    write(ledger, recorder, [1, 2])
    assert recorder.close() == 2
    assert said[-1].endswith(f"2 records wait in {ledger.path}; --resume {ledger.path.parent.name} delivers them")
    heard = []
    _, recorder = opened(apply=heard.append)
    assert recorder.close() == 0
    assert heard == [1, 2]


class Refused(Exception):
    error_code = "INVALID_PARAMETER_VALUE"


def test_what_the_store_refuses_is_dropped_with_a_line_and_the_rest_goes_on(opened, said):
    heard = []

    def apply(number):
        if number == 1:
            raise Refused("changed\nfrom 4 to 8")
        if number == 2:
            raise KeyError("the run of a refused record")
        heard.append(number)

    ledger, recorder = opened(apply=apply)
    write(ledger, recorder, [0, 1, 2, 3])
    assert recorder.close() == 0
    assert heard == [0, 3]
    assert said == [f"MLflow at {recorder.uri} refused a record: changed"]


def test_what_fails_for_a_while_is_tried_again_and_keeps_its_place(opened, said):
    heard = []

    def stumbling(number):
        heard.append(number)
        if len(heard) < 3:
            raise ConnectionError("no route")

    ledger, recorder = opened(apply=stumbling)
    write(ledger, recorder, [1, 2])
    wait_until(lambda: 2 in heard)
    assert heard == [1, 1, 1, 2]
    assert len(said) == 1
    assert "does not answer (no route); the search goes on without it" in said[0]


def test_waking_takes_no_time(opened):
    ledger, recorder = opened(apply=lambda number: time.sleep(5))
    write(ledger, recorder, [1])
    started = time.monotonic()
    for _ in range(1000):
        recorder.wake()
    assert time.monotonic() - started < 2


def test_closing_waits_no_longer_than_asked(opened, said):
    ledger, recorder = opened(apply=lambda number: time.sleep(4))
    write(ledger, recorder, [1, 2])
    started = time.monotonic()
    assert recorder.close(0.3) == 2
    assert time.monotonic() - started < 2
    assert "2 records wait" in said[-1]


def test_a_server_that_is_not_there_neither_blocks_nor_raises(opened, closed_address, said, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started = time.monotonic()
    ledger, recorder = opened(f"http://{closed_address}")
    for number in range(5):
        ledger.append("study", study_id=str(number), params={}, tags={"kind": "study"}, files=[])
        recorder.wake()
    assert time.monotonic() - started < 2
    assert recorder.close() == 5
    assert time.monotonic() - started < 15
    assert "does not answer" in said[0]
    assert said[-1].startswith(f"MLflow at http://{closed_address}: 5 records wait in ")
    assert len(said) == 2
    assert all("\n" not in line for line in said)


@pytest.mark.slow
def test_a_locked_database_is_waited_for(opened, record_file, said):
    """SQLite itself waits some seconds; what it gives up is tried again."""
    MlflowClient(f"sqlite:///{record_file}").search_experiments()
    ledger, recorder = opened(f"sqlite:///{record_file}")
    other = sqlite3.connect(record_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger.append("study", study_id="locked", params={"a": 1}, tags={"kind": "study"}, files=[])
    recorder.wake()
    time.sleep(1)
    other.execute("COMMIT")
    other.close()
    assert recorder.close(60) == 0
    client = MlflowClient(f"sqlite:///{record_file}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.study_id = 'locked'")
    assert run.data.params == {"a": "1"}


@pytest.mark.slow
def test_a_server_killed_midway_stops_nothing_and_gets_the_rest_when_it_is_back(opened, tracking_server, said):
    ledger, recorder = opened(tracking_server.url)
    ledger.append("study", study_id="x", params={}, tags={"kind": "study"}, files=[])
    config = {"method": "deadzone", "seed": 0, "epochs": 9, "point": {"bits": 4}}
    ledger.append("start", trial="t1", name="t1", config=config, tags={"study_id": "x"})
    recorder.wake()
    wait_until(lambda: recorder.delivery.position == ledger.path.stat().st_size, 60)
    tracking_server.kill()
    started = time.monotonic()
    for step in range(10):
        reports = [{"metrics": {"epoch": step, "loss": 1 / (step + 1)}, "again": False}]
        ledger.append("result", trial="t1", epoch=step, failed=False, reason="", reports=reports)
        recorder.wake()
    assert time.monotonic() - started < 2
    wait_until(lambda: said)
    tracking_server.start()
    assert recorder.close(60) == 0
    assert "does not answer" in said[0]
    history = MlflowClient(tracking_server.url).get_metric_history(recorder.delivery.runs["t1"], "loss")
    assert [(m.step, m.value) for m in history] == [(n, 1 / (n + 1)) for n in range(10)]
