"""Whole searches: what the three stores and the files say of them. One smoke study is read by most tests here."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter

import optuna
import pytest
import ray
import torch
import yaml
from mlflow import MlflowClient
from optuna.trial import TrialState

import compress
import tasks
import tuner
from search import Settings, StudyError, run
from search.clock import Clock
from search.delivery import PARENT
from search.ledger import LEDGER, entries
from search.searcher import open_storage
from search_spaces import Space
from tasks import DataMissing, Part, TaskError, evaluate

PROMISED = {"trial_id", "epoch", "accuracy", "test_accuracy", "rate", "size_bytes", "gops", "rel_bops", "config"}


class Stores:
    """What Optuna, MLflow, Ray and trials.csv say of a study."""

    def __init__(self, folder, uri=None):
        self.folder = folder
        self.client = MlflowClient(uri or f"sqlite:///{folder.parent / 'mlflow.db'}")
        (number,) = [e.experiment_id for e in self.client.search_experiments() if e.name == "ratefront"]
        parents = self.client.search_runs([number], f"attributes.run_name = '{folder.name}'")
        self.parent = next(run for run in parents if PARENT not in run.data.tags)
        mine = f"tags.`{PARENT}` = '{self.parent.info.run_id}'"
        self.children = {run.data.tags["trial_id"]: run for run in self.client.search_runs([number], mine)}

    @property
    def optuna(self):
        storage = open_storage(self.folder)
        (summary,) = optuna.get_all_study_summaries(storage)
        trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
        return {trial.user_attrs["trial_id"]: trial for trial in trials}

    @property
    def table(self):
        with open(self.folder / "trials.csv", newline="") as file:
            return {row["trial_id"]: row for row in csv.DictReader(file)}

    def reports(self, trial_id):
        """Every result that Ray wrote down."""
        text = (self.folder / f"trial_{trial_id}" / "result.json").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def ends(self):
        """By trial: the words of Optuna, MLflow and trials.csv, and MLflow's status."""
        told, rows = self.optuna, self.table
        assert set(told) == set(rows) == set(self.children)
        return {
            name: (
                told[name].state.name,
                told[name].user_attrs["end"],
                run.data.tags["end"],
                rows[name]["end"],
                run.info.status,
            )
            for name, run in self.children.items()
        }


@pytest.fixture(scope="module")
def stores(smoke_study):
    return Stores(smoke_study.folder)


@pytest.fixture(scope="module")
def busy_ray(smoke_study, own_ray):
    """A Ray that is there already, after the smoke study had one of its own: further studies start in it at once."""


@pytest.fixture
def study(busy_ray, tmp_path, no_network):
    """Run a space in a folder of the test's own."""
    (tmp_path / "data").mkdir()

    def search(space, **settings):
        given = {"name": "study", "results": tmp_path / "results", "data_root": tmp_path / "data", "quiet": True}
        return run(space, Settings(**{**given, **settings}))

    return search


@pytest.mark.slow
class TestSmokeStudy:
    def test_mlflow_has_a_parent_and_four_finished_children(self, stores):
        assert stores.parent.info.status == "FINISHED"
        assert stores.parent.data.tags["end"] == "done"
        assert [run.info.status for run in stores.children.values()] == ["FINISHED"] * 4

    def test_the_parent_says_how_the_study_was_made(self, stores):
        tags, params = stores.parent.data.tags, stores.parent.data.params
        expected = {"kind": "study", "space": "smoke", "method": "deadzone", "network": "mlp"}
        expected |= {"data": "digits", "split": "holdout-300", "start": "trained here"}
        assert expected.items() <= tags.items()
        assert tags["version.ray"] == ray.__version__
        assert "commit" in tags
        assert (params["dense_size"], params["dense_weights"]) == ("75256", "18814")
        assert params["objectives"] == "accuracy:max,rate:min"

    def test_the_parent_holds_the_files_and_the_networks(self, stores, smoke_study):
        parent = stores.parent.info.run_id
        files = {file.path for file in stores.client.list_artifacts(parent)}
        assert files == {
            "study.yaml",
            "front.json",
            "front.csv",
            "front.png",
            "trials.csv",
            "epochs.csv.gz",
            "artifacts",
        }
        networks = {file.path: file.file_size for file in stores.client.list_artifacts(parent, "artifacts")}
        assert networks == {row["artifact"]: row["size_bytes"] for row in smoke_study.members}

    def test_children_have_the_knobs_and_every_epoch(self, stores, smoke_study):
        for name, child in stores.children.items():
            assert {"init_deadzone_logit", "max_bits", "dz.weight_decay", "method", "seed"} <= set(child.data.params)
            history = stores.client.get_metric_history(child.info.run_id, "accuracy")
            reports = stores.reports(name)
            told = [reports[0]["epoch_0"]["accuracy"], *(r["accuracy"] for r in reports)]
            assert [(m.step, m.value) for m in history] == list(enumerate(told))

    def test_how_accuracies_were_counted_is_in_the_front_and_is_no_metric(self, stores, smoke_study):
        for row in smoke_study.members:
            assert row["evaluation"]["correct"] / row["evaluation"]["images"] == row["accuracy"]
            assert row["evaluation"]["images"] == 300
        runs = [stores.parent, *stores.children.values()]
        assert not [name for run in runs for name in {*run.data.metrics, *run.data.params} if "evaluation" in name]

    def test_optuna_has_four_complete_trials_with_their_last_values(self, stores):
        assert len(stores.optuna) == 4
        for name, trial in stores.optuna.items():
            last = stores.reports(name)[-1]
            assert trial.state is TrialState.COMPLETE
            assert trial.values == [last["accuracy"], last["rate"]]
            assert trial.params == last["config"]["point"]

    def test_the_stores_agree(self, stores):
        assert set(stores.ends().values()) == {("COMPLETE", "done", "done", "done", "FINISHED")}

    def test_every_trial_trained_every_epoch(self, stores):
        for name in stores.table:
            assert [report["epoch"] for report in stores.reports(name)] == [1, 2]

    def test_front_json_is_a_list_with_what_was_promised(self, smoke_study):
        assert len(smoke_study.members) > 0
        for row in smoke_study.members:
            assert PROMISED | {"artifact"} <= set(row)
            assert 0.15 <= row["accuracy"] <= 1
            assert row["rate"] == 8 * row["size_bytes"] / 18814
            assert (row["data"], row["split"]) == ("digits", "holdout-300")

    def test_members_are_files_that_give_the_recorded_accuracies(self, smoke_study):
        spec = Space.load("smoke").task
        task, _ = tasks.open_task(spec, smoke_study.folder)
        parts = [Part.of(p, task.data, torch.device("cpu")) for p in (task.data.validation, task.data.test)]
        for row in smoke_study.members:
            assert not row["artifact"].startswith("/")
            path = smoke_study.folder / row["artifact"]
            assert path.stat().st_size == row["size_bytes"]
            network = tasks.load(path)
            assert [evaluate(network, p, 100) for p in parts] == [row["accuracy"], row["test_accuracy"]]

    def test_no_member_dominates_another_and_nothing_better_was_seen(self, smoke_study, stores):
        front = [(-row["accuracy"], row["rate"]) for row in smoke_study.members]
        seen = [
            r for name in stores.table for report in stores.reports(name) for r in (report, report.get("epoch_0")) if r
        ]
        for network in seen:
            point = (-network["accuracy"], network["rate"])
            if network["accuracy"] >= 0.15:
                assert any(a <= point[0] and b <= point[1] for a, b in front)
        for one in front:
            assert not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in front)

    def test_only_files_of_members_are_kept(self, smoke_study):
        kept = {f"artifacts/{path.name}" for path in (smoke_study.folder / "artifacts").iterdir()}
        assert kept == {row["artifact"] for row in smoke_study.members}

    def test_the_front_is_tagged_in_mlflow(self, smoke_study, stores):
        expected = {}
        for row in smoke_study.members:
            expected.setdefault(row["trial_id"], set()).add(str(row["epoch"]))
        tagged = {n: run.data.tags for n, run in stores.children.items() if run.data.tags.get("pareto") == "true"}
        assert {name: set(tags["pareto_epochs"].split(",")) for name, tags in tagged.items()} == expected
        assert stores.parent.data.metrics["front_size"] == len(smoke_study.members)
        assert stores.parent.data.metrics["epochs_spent"] == 8

    def test_what_is_returned_is_what_is_written(self, smoke_study):
        front = smoke_study.front
        assert json.loads(front.json()) == smoke_study.members
        assert front.csv() == (smoke_study.folder / "front.csv").read_text()
        assert front.folder == smoke_study.folder
        assert not front.interrupted
        assert 0 < front.hypervolume < 1
        assert 0.5 < front.dense["test_accuracy"] <= 1
        assert (smoke_study.folder / "front.png").stat().st_size > 10_000

    def test_study_yaml_says_how_to_do_it_again(self, smoke_study):
        about = yaml.safe_load((smoke_study.folder / "study.yaml").read_text())
        assert about["command"] == "tuner.py --space smoke"
        assert (about["data_used"], about["split"], about["start"]) == ("digits", "holdout-300", "trained here")
        assert about["dense"]["size"] == 75256
        assert about["resolved"]["budget"]["trials"] == 4
        assert {"versions", "commit", "began"} <= set(about)

    def test_what_was_said(self, smoke_study):
        lines = smoke_study.said.splitlines()
        assert lines[0].startswith("no trained mlp for digits: training it once")
        assert any(line.startswith("dense mlp on digits 1x8x8 (split holdout-300): accuracy ") for line in lines)
        assert any(line.startswith("4 trials x 2 epochs, ") for line in lines)
        assert " 4/4 trials done | 0 running | epoch 8/8 | " in lines[-1]

    def test_its_ray_ended_with_it(self, smoke_study):
        assert not smoke_study.ray_left


@pytest.mark.slow
def test_diverging_trials_are_failures_to_every_store(study, tmp_path):
    space = Space.load("smoke", {"base.lr": 1e12, "optimizer.name": "sgd", "budget.trials": 3, "dz.weight_decay": 0.0})
    front = study(space)
    stores = Stores(tmp_path / "results" / "study")
    assert list(stores.ends().values()) == [("FAIL", "failed", "failed", "failed", "FAILED")] * 3
    for name, child in stores.children.items():
        (report,) = stores.reports(name)
        assert (report["failed"], report["done"]) == (True, True)
        assert child.data.tags["reason"] == stores.table[name]["reason"] == report["reason"]
        assert not (stores.folder / f"trial_{name}" / "error.txt").exists()
    assert stores.parent.info.status == "FINISHED"
    assert {member.epoch for member in front} == {0}, "converted and untrained, a network is one all the same"


@pytest.mark.slow
def test_a_time_budget_ends_in_time_and_tells_what_was_stopped(study, tmp_path, monkeypatch):
    budget = {"budget.trials": 50, "budget.epochs": 2000, "budget.wall_time": "16s"}
    clocks, began = [], time.time()
    monkeypatch.setattr("search.plan.Clock", lambda *about: clocks.append(Clock(*about)) or clocks[-1])
    front = study(Space.load("smoke", budget))
    assert began + 12 <= clocks[-1].deadline <= began + 16
    heard = [e for e, _ in entries(tmp_path / "results" / "study" / LEDGER) if e["event"] == "result"]
    late = Counter(entry["trial"] for entry in heard if entry["at"] / 1000 > clocks[-1].deadline)
    assert set(late.values()) <= {1}, "a trial ends with the epoch that the deadline found it in"
    assert not front.interrupted
    stores = Stores(tmp_path / "results" / "study")
    assert list(stores.ends().values()) == [("COMPLETE", "stopped", "stopped", "stopped", "FINISHED")] * 2
    for name, trial in stores.optuna.items():
        last = stores.reports(name)[-1]
        assert trial.user_attrs["values"] == [last["accuracy"], last["rate"]]
        assert trial.user_attrs["fidelity"] == last["epoch"] / 2000 > 0
    assert stores.parent.info.status == "FINISHED"
    assert len(front) > 0
    assert all(m.test_accuracy is not None for m in front)


RUNGS = {"budget.trials": 6, "budget.epochs": 4, "budget.rungs": {"grace": 1, "factor": 2}, "resources.concurrent": 1}


@pytest.mark.slow
def test_trials_stop_at_rungs_and_every_store_says_so(study, tmp_path):
    front = study(Space.load("smoke", {**RUNGS, "base.lr": 1e-4}))
    stores = Stores(tmp_path / "results" / "study")
    ends = Counter(stores.ends().values())
    done, stopped = (
        ("COMPLETE", "done", "done", "done", "FINISHED"),
        ("COMPLETE", "stopped", "stopped", "stopped", "FINISHED"),
    )
    assert set(ends) <= {done, stopped}
    lines = [json.loads(line) for line in (stores.folder / "rungs.jsonl").read_text().splitlines()]
    assert {line["trial"] for line in lines if not line["go"]} == {n for n, e in stores.ends().items() if e == stopped}
    assert len([line for line in lines if line["epoch"] == 1]) == 6
    for name, trial in stores.optuna.items():
        last = stores.reports(name)[-1]
        assert int(stores.table[name]["epoch"]) == last["epoch"] == trial.user_attrs["epoch"]
        if trial.user_attrs["end"] == "stopped":
            assert last["epoch"] in (1, 2)
            assert trial.user_attrs["fidelity"] == last["epoch"] / 4
    assert stores.parent.data.metrics["epochs_spent"] == sum(int(row["epoch"]) for row in stores.table.values())
    assert len(front) > 0


@pytest.mark.slow
def test_too_little_time_for_anything_is_said(busy_ray, tmp_path, capsys):
    assert tuner.main(["--space", "smoke", "--time-budget", "0.5s", "--results", str(tmp_path), "--name", "study"]) == 1
    assert capsys.readouterr().err == "ratefront: no time for a trial\n"
    assert json.loads((tmp_path / "study" / "front.json").read_text()) == []


@pytest.mark.slow
def test_a_trial_whose_process_dies_goes_on_and_fails_the_third_time(study, tmp_path):
    """An epoch is 19 steps, and a process of the trial dies at its 31st: each restart brings one epoch more."""
    torch.save(torch.nn.ModuleDict({"linear": torch.nn.Linear(64, 10)}).state_dict(), tmp_path / "start.pt")
    network = {"name": "tests.search.dying:Dying", "after": 30}
    changes = {"task.network": network, "task.start": str(tmp_path / "start.pt"), "budget.epochs": 9}
    front = study(Space.load("smoke", {**changes, "budget.trials": 1, "base.lr": 0.01}))
    stores = Stores(tmp_path / "results" / "study")
    ((name, ends),) = stores.ends().items()
    assert ends == ("FAIL", "failed", "failed", "failed", "FAILED")
    assert stores.reports(name)[-1]["epoch"] == 3  # Ray may lose lines before: it reads its copy of the file again
    history = stores.client.get_metric_history(stores.children[name].info.run_id, "accuracy")
    assert sorted({m.step for m in history}) == [0, 1, 2, 3]
    assert (stores.folder / f"trial_{name}" / "error.txt").exists()
    assert (stores.table[name]["epoch"], stores.table[name]["reason"]) == ("3", "its process died")
    assert stores.children[name].data.tags["reason"] == "its process died"
    assert len(front) > 0
    kept = {f"artifacts/{path.name}" for path in (stores.folder / "artifacts").iterdir()}
    assert kept == {member.artifact for member in front}


@pytest.fixture
def absent_data(tmp_path):
    """A space of three objectives whose data are nowhere, with embedded ones instead."""
    path = tmp_path / "absent.yaml"
    path.write_text("""
method: uniform
task: {network: mlp, data: cifar10, start: train, start_epochs: 3}
objectives: {accuracy: max, size: min, rel_bops: min}
budget: {trials: 3, epochs: 4}
search: {bitwidth: {type: int, low: 2, high: 8}}
sampler: nsga2
embedded: {task: {data: digits, batch_size: 64}, budget: {trials: 2, epochs: 1}}
""")
    return path


@pytest.mark.slow
def test_absent_data_are_replaced_and_every_record_says_so(study, tmp_path, absent_data):
    front = study(Space.load(absent_data), name="embedded")
    stores = Stores(tmp_path / "results" / "embedded")
    used = "digits (embedded; cifar10 was not used)"
    assert front.about["data"] == used
    assert {run.data.tags["data"] for run in (stores.parent, *stores.children.values())} == {used}
    assert {row["data"] for row in json.loads((stores.folder / "front.json").read_text())} == {used}
    about = yaml.safe_load((stores.folder / "study.yaml").read_text())
    assert (about["data_used"], about["resolved"]["task"]["data"]) == (used, "digits")
    assert list(stores.ends().values()) == [("COMPLETE", "done", "done", "done", "FINISHED")] * 2
    assert all(len(trial.values) == 3 for trial in stores.optuna.values())
    for member in front:
        with open(front.folder / member.artifact, "rb") as file:
            assert compress.artifact.decode(file.read()).card["data"] == "digits"


@pytest.mark.slow
def test_absent_data_that_were_asked_for_leave_nothing_behind(study, tmp_path, absent_data):
    with pytest.raises(DataMissing, match="put it under"):
        study(Space.load(absent_data), strict_data=True)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_start_that_does_not_fit_is_refused_in_one_line(study, tmp_path):
    torch.save(torch.nn.Linear(3, 3).state_dict(), tmp_path / "mine.pt")
    with pytest.raises(TaskError, match=r"start = 'mine.pt': does not fit network 'mlp'") as caught:
        study(Space.load("smoke", {"task.start": str(tmp_path / "mine.pt")}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_device_that_is_not_there_is_refused_in_one_line(study, tmp_path):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(TaskError, match=f"device = '{absent}': not on this machine") as caught:
        study(Space.load("smoke", {"resources.device": absent, "resources.gpu": 0.0}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_resources_that_are_not_there_are_refused(study, tmp_path):
    with pytest.raises(StudyError, match=r"a trial needs 64 CPUs and 0 GPUs, the cluster has 2 CPUs"):
        study(Space.load("smoke", {"resources.cpu": 64.0}))
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_tracking_server_that_is_not_there_stops_nothing(study, tmp_path, closed_address, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    uri, space = f"http://{closed_address}", Space.load("smoke", {"budget.trials": 1, "budget.epochs": 1})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    front = study(space, quiet=False)
    assert time.monotonic() - started < 60
    assert len(front) > 0
    assert json.loads((tmp_path / "results" / "study" / "front.json").read_text()) == json.loads(front.json())
    assert not (tmp_path / "results" / "mlflow.db").exists()
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith(f"MLFLOW_TRACKING_URI = {uri}: the record goes there; --tracking-uri wins")
    assert f"MLflow at {uri} does not answer" in said
    assert f"records wait in {tmp_path / 'results' / 'study' / 'ledger.jsonl'}; --resume study delivers them" in said


def test_a_name_that_is_taken_is_refused_and_nothing_there_is_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StudyError, match=r"name = 'mine': .* exists; choose another --name"):
        run(Space.load("smoke"), Settings(name="mine", results=tmp_path))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/absolute"])
def test_a_name_that_is_no_plain_folder_name_is_refused(tmp_path, name):
    with pytest.raises(StudyError, match="must be a plain folder name"):
        run(Space.load("smoke"), Settings(name=name, results=tmp_path / "results"))
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match=r"results = .*file': cannot be written"):
        run(Space.load("smoke"), Settings(name="a", results=tmp_path / "file"))


@pytest.mark.slow
def test_a_dense_start_that_takes_too_long_gives_way_to_the_embedded_data(tmp_path):
    raw = {
        "method": "deadzone",
        "task": {"network": "mlp", "data": "digits", "start": "train", "start_epochs": 10**6, "batch_size": 64},
        "budget": {"trials": 1, "epochs": 1, "wall_time": 60},
        "embedded": {"task": {"start_epochs": 3}},
    }
    front = run(Space.from_raw("long", "long.yaml", raw), Settings(name="long", results=tmp_path))
    assert front.about["data"] == "digits (embedded; digits was not used)"
    assert {row["data"] for row in json.loads((tmp_path / "long" / "front.json").read_text())} == {front.about["data"]}
    with pytest.raises(TaskError, match="does not fit the time budget"):
        run(Space.from_raw("long", "long.yaml", raw), Settings(name="strict", results=tmp_path, strict_data=True))
    assert not (tmp_path / "strict").exists()
