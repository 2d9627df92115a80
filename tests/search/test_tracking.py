"""The record in a real MLflow store: what a study and its trials leave there."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search import recorder
from search.delivery import PARENT, TrackingCard
from search.front import Front, Member
from search.ledger import LEDGER, Ledger, entries
from search.recorder import Recorder
from search.tracking import Tracking, record_place, tracking_uri

TAGS = {"kind": "study", "space": "smoke", "data": "digits"}


class Record:
    """A study's record while it is written, and as it is read afterwards."""

    def __init__(self, file, name, folder):
        self.said, self.folder, self.experiment, self.uri = [], folder, name, f"sqlite:///{file}"
        self.client = MlflowClient(self.uri)
        self.card = TrackingCard("study-1", name, (file.parent / "artifacts").as_uri())
        self.open(self.uri)
        (folder / "study.yaml").write_text("space: smoke\n")

    def open(self, uri):
        """As a process does that begins the study, or goes on with it."""
        ledger = Ledger(self.folder / LEDGER, self.said.append)
        self.recorder = Recorder(self.folder, uri, self.card, self.said.append)
        self.tracking = Tracking(ledger, self.recorder)
        self.tracking.resume(entry for entry, _ in entries(ledger.path))

    def begin(self, epochs=2):
        self.tracking.expect(["accuracy", "rate"], epochs, {"data": "digits", "split": "holdout-300"})
        self.tracking.begin({"dense_size": 75256, "split": "holdout-300"}, TAGS, ["study.yaml"])

    def finish(self, members=(), interrupted=False):
        front = Front(list(members), {"accuracy": "max", "rate": "min"}, {}, self.folder, 0.25, interrupted)
        (self.folder / "front.json").write_text(front.json())
        for one in members:
            (self.folder / one.artifact).parent.mkdir(exist_ok=True)
            (self.folder / one.artifact).write_bytes(b"a network")
        self.tracking.finish(front, [self.folder / "front.json"], epochs_spent=7)

    def read(self):
        """(parent, children by trial id), after everything was delivered."""
        assert self.recorder.close(120) == 0
        assert self.said == []
        number = self.client.get_experiment_by_name(self.experiment).experiment_id
        runs = self.client.search_runs([number])
        (parent,) = [run for run in runs if PARENT not in run.data.tags]
        return parent, {run.data.tags["trial_id"]: run for run in runs if run is not parent}


@pytest.fixture
def record(record_file, request, tmp_path):
    made = Record(record_file, request.node.name, tmp_path)
    yield made
    made.recorder.close(0.1)


@pytest.fixture
def play(record, make_trial, report, ended):
    """A trial's whole life, as Ray tells it to a callback."""

    def whole(trial_id, *results, crash=False, **point):
        trial = make_trial(trial_id, **point)
        record.tracking.on_trial_start(0, [], trial)
        for result in results:
            record.tracking.on_trial_result(0, [], trial, result)
        ended(trial, results[-1] if results else {})
        (record.tracking.on_trial_error if crash else record.tracking.on_trial_complete)(0, [], trial)

    return whole


def member(trial_id, epoch):
    metrics = {"epoch": epoch, "accuracy": 0.9, "rate": 4.0, "size": 9}
    return Member(trial_id=trial_id, epoch=epoch, metrics=metrics, config={}, artifact=f"artifacts/{trial_id}.rf")


def test_one_parent_with_params_tags_and_artifacts(record):
    record.begin()
    record.finish()
    parent, children = record.read()
    assert children == {}
    assert (parent.info.run_name, parent.info.status) == ("study-1", "FINISHED")
    assert parent.data.params == {"dense_size": "75256", "split": "holdout-300"}
    assert (TAGS | {"end": "done"}).items() <= parent.data.tags.items()
    assert parent.data.metrics == {"hypervolume": 0.25, "front_size": 0.0, "epochs_spent": 7.0}
    files = {file.path for file in record.client.list_artifacts(parent.info.run_id)}
    assert files == {"study.yaml", "front.json"}


def test_a_child_for_every_trial_with_its_knobs(record, play, report):
    record.begin()
    play("t1", report(1), report(2), lr=0.5)
    play("t2", report(1), report(2))
    parent, children = record.read()
    assert {run.data.tags[PARENT] for run in children.values()} == {parent.info.run_id}
    params = {"method": "deadzone", "seed": "0", "epochs": "2", "max_bits": "4"}
    assert children["t1"].data.params == {**params, "lr": "0.5"}
    assert children["t2"].data.params == params
    expected = {"kind": "trial", "data": "digits", "split": "holdout-300"}
    assert all(expected.items() <= run.data.tags.items() for run in children.values())
    assert [run.info.status for run in children.values()] == ["FINISHED", "FINISHED"]
    assert parent.info.status == "RUNNING"


def test_metrics_have_the_epoch_as_step_from_the_untrained_network_on(record, play, report):
    record.begin()
    play("t1", report(1, 0.8, epoch_0=report(0, 0.7)), report(2, 0.9))
    _, children = record.read()
    run = children["t1"].info.run_id
    history = record.client.get_metric_history(run, "accuracy")
    assert [(m.step, m.value) for m in history] == [(0, 0.7), (1, 0.8), (2, 0.9)]
    metrics = children["t1"].data.metrics
    assert metrics["dead_zone"] == 0.25
    assert {"rate", "size", "gops", "rel_bops", "loss", "seconds"} <= set(metrics)
    assert not {"pid", "done", "failed", "artifact"} & set(metrics)


@pytest.mark.parametrize(
    ("last", "crash", "status", "end"),
    [
        ({"epoch": 2}, False, "FINISHED", "done"),
        ({"epoch": 1}, False, "FINISHED", "stopped"),
        ({"epoch": 2, "accuracy": float("nan")}, False, "FAILED", "failed"),
        ({"epoch": 2}, True, "FAILED", "failed"),
    ],
)
def test_how_a_trial_ended(record, play, report, last, crash, status, end):
    record.begin()
    play("t1", {**report(), **last}, crash=crash)
    _, children = record.read()
    assert (children["t1"].info.status, children["t1"].data.tags["end"]) == (status, end)


def test_a_diverged_trial_has_failed_and_says_why(record, play, report):
    record.begin()
    play("t1", report(1), {"epoch": 2, "failed": True, "reason": "loss is nan in epoch 2", "done": True})
    _, children = record.read()
    run = children["t1"]
    assert (run.info.status, run.data.tags["end"]) == ("FAILED", "failed")
    assert run.data.tags["reason"] == "loss is nan in epoch 2"
    assert [m.step for m in record.client.get_metric_history(run.info.run_id, "accuracy")] == [1]


def test_a_trial_that_failed_at_once_has_its_untrained_network_on_record(record, play, report):
    record.begin()
    play("t1", {"epoch": 0, "failed": True, "reason": "loss is nan in epoch 1", "epoch_0": report(0, 0.7)})
    _, children = record.read()
    history = record.client.get_metric_history(children["t1"].info.run_id, "accuracy")
    assert [(m.step, m.value) for m in history] == [(0, 0.7)]
    assert children["t1"].info.status == "FAILED"


def test_a_trial_that_crashed_before_its_first_result_has_a_run_that_failed(record, play):
    record.begin()
    play("t1", crash=True)
    _, children = record.read()
    assert children["t1"].info.status == "FAILED"


def test_the_front_is_tagged_on_its_trials(record, play, report):
    record.begin()
    for name in ("t1", "t2"):
        play(name, report(1), report(2))
    record.finish([member("t1", 2), member("t1", 0)])
    parent, children = record.read()
    assert children["t1"].data.tags["pareto"] == "true"
    assert children["t1"].data.tags["pareto_epochs"] == "2,0"
    assert "pareto" not in children["t2"].data.tags
    assert parent.data.metrics["front_size"] == 2
    networks = {file.path for file in record.client.list_artifacts(parent.info.run_id, "artifacts")}
    assert networks == {"artifacts/t1.rf"}


def test_an_interrupted_study_stays_open(record, make_trial, report):
    record.begin()
    record.tracking.on_trial_start(0, [], make_trial())
    record.finish(interrupted=True)
    parent, children = record.read()
    assert (parent.info.status, parent.data.tags["end"]) == ("RUNNING", "interrupted")
    assert children["t1"].info.status == "RUNNING"


def test_a_restarted_trial_goes_on_in_its_run(record, play, make_trial, report):
    record.begin()
    trial = make_trial()
    record.tracking.on_trial_start(0, [], trial)
    record.tracking.on_trial_result(0, [], trial, report(1))
    play("t1", report(2))
    _, children = record.read()
    history = record.client.get_metric_history(children["t1"].info.run_id, "accuracy")
    assert [m.step for m in history] == [1, 2]


class Stumbling:
    """A client whose second ``log_batch``, the first of a trial, does not reach the server."""

    def __init__(self, client):
        self.client, self.batches = client, 0

    def __getattr__(self, name):
        return getattr(self.client, name)

    def log_batch(self, *arguments, **named):
        self.batches += 1
        if self.batches == 2:
            raise ConnectionError("no route")
        return self.client.log_batch(*arguments, **named)


def test_a_trial_that_begins_while_the_server_stumbles_still_gets_its_knobs(record, play, report, monkeypatch):
    connect = recorder._connect
    monkeypatch.setattr(recorder, "_connect", lambda uri: Stumbling(connect(uri)))
    record.begin()
    play("t1", report(1), report(2), lr=0.5)
    wait_until(lambda: record.said)
    assert "no route" in record.said.pop()
    _, children = record.read()
    assert children["t1"].data.params["lr"] == "0.5"
    assert children["t1"].info.status == "FINISHED"


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_two_studies_share_an_experiment_and_may_have_one_name(record, record_file, report, tmp_path, play):
    record.begin()
    play("t1", report(1), report(2))
    (tmp_path / "other").mkdir()
    other = Record(record_file, record.experiment, tmp_path / "other")
    other.begin()
    other.tracking.finish(Front([], {}, {}, other.folder), [], 0)
    assert (record.recorder.close(), other.recorder.close()) == (0, 0)
    number = record.client.get_experiment_by_name(record.experiment).experiment_id
    runs = [run for run in record.client.search_runs([number]) if PARENT not in run.data.tags]
    assert [run.info.run_name for run in runs] == ["study-1"] * 2
    assert {run.info.status for run in runs} == {"FINISHED", "RUNNING"}


def test_a_study_that_goes_on_has_the_same_runs_and_no_number_twice(record, play, make_trial, report):
    record.begin()
    record.tracking.on_trial_start(0, [], make_trial("t1"))
    record.tracking.on_trial_result(0, [], make_trial("t1"), report(1))
    record.finish([member("t1", 1)], interrupted=True)
    record.recorder.close()
    record.open(record.uri)
    record.begin()
    play("t1", report(1), report(2))
    play("t2", report(1), report(2))
    record.finish([member("t2", 2)])
    parent, children = record.read()
    assert set(children) == {"t1", "t2"}
    for run in children.values():
        history = record.client.get_metric_history(run.info.run_id, "accuracy")
        assert [m.step for m in history] == [1, 2]
        assert run.info.status == "FINISHED"
    assert (parent.info.status, parent.data.tags["end"]) == ("FINISHED", "done")
    assert (children["t1"].data.tags["pareto"], children["t2"].data.tags["pareto"]) == ("false", "true")


def test_lines_delivered_twice_change_nothing(record, play, report, tmp_path):
    """As after a kill between the server's answer and the note of it: all is told again, in another process."""
    record.begin()
    play("t1", report(1, 0.8, epoch_0=report(0, 0.7)), report(2))
    record.finish([member("t1", 2)])
    first = record.read()
    (tmp_path / "mlflow.jsonl").unlink()
    record.open(record.uri)
    parent, children = record.read()
    assert parent.info.run_id == first[0].info.run_id
    assert children["t1"].info.run_id == first[1]["t1"].info.run_id
    history = record.client.get_metric_history(children["t1"].info.run_id, "accuracy")
    assert [m.step for m in history] == [0, 1, 2]
    assert children["t1"].data.tags == first[1]["t1"].data.tags


@pytest.mark.slow
def test_another_place_gets_all_of_it(record, play, report, tmp_path):
    record.begin()
    play("t1", report(1), report(2))
    record.read()
    record.open(f"sqlite:///{tmp_path / 'other.db'}")
    assert record.recorder.close(60) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'other.db'}")
    (experiment,) = [e.experiment_id for e in client.search_experiments() if e.name == record.experiment]
    assert len(client.search_runs([experiment])) == 2


def test_long_values_are_cut_to_what_mlflow_takes(record, play, report):
    record.begin()
    play("t1", {"epoch": 1, "failed": True, "reason": "x" * 9000}, text="y" * 7000)
    _, children = record.read()
    assert children["t1"].data.tags["reason"] == "x" * 8000
    assert children["t1"].data.params["text"] == "y" * 6000


def test_callbacks_never_wait_and_never_raise(closed_address, play, record, report, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    record.recorder.close()
    record.open(f"http://{closed_address}")
    started = time.monotonic()
    record.begin()
    play("t1", report(1), report(2))
    record.finish([member("t1", 2)])
    assert time.monotonic() - started < 2
    assert record.recorder.close() == 6
    assert time.monotonic() - started < 15


def test_ray_keeps_nothing_of_it_with_the_experiment(record, make_trial, report):
    again = pickle.loads(pickle.dumps(record.tracking))
    again.on_trial_result(0, [], make_trial(), report(1))
    assert list(entries(record.folder / LEDGER)) == []


def test_the_ledger_has_each_event_before_the_callback_returns(record, play, report):
    record.begin()
    play("t1", report(1, epoch_0=report(0)), report(2))
    lines = [entry for entry, _ in entries(record.folder / LEDGER)]
    assert [line["event"] for line in lines] == ["study", "start", "result", "result", "end"]
    assert [r["metrics"]["epoch"] for line in lines[2:4] for r in line["reports"]] == [0, 1, 2]
    assert lines[2]["reports"][0]["artifact"] == "t1-e000.rf"


@pytest.mark.parametrize(
    ("given", "variable", "uri"),
    [
        (None, "", "sqlite:////results/mlflow.db"),
        ("http://a:1", "", "http://a:1"),
        (None, "http://b:2", "http://b:2"),
        ("http://a:1", "http://b:2", "http://a:1"),
    ],
)
def test_where_the_record_is(monkeypatch, given, variable, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert tracking_uri(given, Path("/results")) == uri
    said = []
    where = "file:///results/mlartifacts" if uri.startswith("sqlite") else None
    assert record_place(given, Path("/results"), said.append) == (uri, where)
    told = [f"MLFLOW_TRACKING_URI = {uri}: the record goes there; --tracking-uri wins over it"]
    assert said == (told if variable and not given else [])


def test_a_record_stays_where_it_is_when_its_study_goes_on(tmp_path, monkeypatch):
    said, own = [], f"sqlite:///{tmp_path / 'mlflow.db'}"
    server = "http://there:5000"
    assert record_place(None, tmp_path, said.append, server)[0] == server
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert record_place(None, tmp_path, said.append, own) == (own, (tmp_path / "mlartifacts").as_uri())
    assert record_place(None, tmp_path, said.append, server)[0] == server
    assert record_place("http://given", tmp_path, said.append, server)[0] == "http://given"
    assert record_place(None, tmp_path, said.append, f"sqlite:///{tmp_path}/gone.db")[0] == own
    assert said == []


def test_a_password_is_not_shown(tmp_path, monkeypatch):
    said, uri = [], "postgresql://me:secret@there/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert record_place(None, tmp_path, said.append)[0] == uri
    assert said == [
        "MLFLOW_TRACKING_URI = postgresql://me:***@there/mlflow: the record goes there; --tracking-uri wins over it"
    ]
