"""MLflow's client as studies need it; one line for whatever goes wrong."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from analysis.server import Server, tracking_uri
from analysis.studies import BadStudy


@pytest.fixture
def server(recorded_studies):
    return Server(f"sqlite:///{recorded_studies / 'mlflow.db'}", "ratefront")


def test_the_newest_study_comes_first(server):
    assert [study.name for study in server.studies] == ["second", "first"]


def test_trials_of_a_study_alone_in_order(server):
    assert [run.tags["trial_id"] for run in server.trials(server.study("first"))] == ["t0", "t1"]
    assert server.trials(server.study("first"), "repeat") == []


def test_names_and_tags_that_mlflow_s_own_view_can_sort_by(server):
    runs = server.trials(server.study("first"))
    assert {run.tags["pareto"] for run in runs} <= {"true", "false"}
    assert min(int(run.tags["rank"]) for run in runs) == 0
    for run in runs:
        assert run.metrics["best_accuracy"] >= run.metrics["accuracy"]
        assert run.metrics["best_rate"] <= run.metrics["rate"]
    assert server.study("first").metrics["best_accuracy"] == max(run.metrics["best_accuracy"] for run in runs)


def test_files_and_files_that_are_not_there(server):
    study = server.study("first")
    assert server.file(study, "study.yaml").read_text().startswith("space: smoke")
    assert server.file(study, "gone.yaml") is None
    assert server.file(study, "artifacts/gone.rf") is None


@pytest.mark.parametrize(("trial", "names"), [("t1", ["first"]), ("t0", ["second", "first"]), ("t' or 1=1", [])])
def test_studies_that_have_a_trial(server, trial, names):
    assert [study.name for study in server.parents(trial)] == names


def test_more_studies_than_a_page(server, monkeypatch):
    monkeypatch.setattr("analysis.server._PAGE", 1)
    assert [run.tags["trial_id"] for run in server.trials(server.study("first"))] == ["t0", "t1"]


def test_where_a_search_keeps_its_record(tmp_path):
    (tmp_path / "mlflow.db").touch()
    assert tracking_uri(None, tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking_uri("http://here", tmp_path / "gone") == "http://here"
    with pytest.raises(BadStudy, match=r"results = .*gone.*: no mlflow.db there"):
        tracking_uri(None, tmp_path / "gone")


def test_a_studys_folder_has_its_record_beside_it(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name / "study").mkdir(parents=True)
        (tmp_path / name / "study" / "study.yaml").touch()
        (tmp_path / name / "mlflow.db").touch()
    one, other = (str(tmp_path / name / "study") for name in ("here", "there"))
    assert tracking_uri(None, tmp_path / "gone", [one, "another"]) == f"sqlite:///{tmp_path / 'here' / 'mlflow.db'}"
    assert tracking_uri("http://here", tmp_path, [one, other]) == "http://here"
    with pytest.raises(BadStudy, match="must lie in one folder"):
        tracking_uri(None, tmp_path, [one, other])


def test_another_experiment(recorded_studies):
    with pytest.raises(BadStudy, match="experiment = 'other': not at sqlite"):
        Server(f"sqlite:///{recorded_studies / 'mlflow.db'}", "other")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "strange://x"])
def test_a_server_that_does_not_answer_is_one_line(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(BadStudy) as caught:
        Server(uri, "ratefront")
    assert uri in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_written(recorded_studies, server):
    before = MlflowClient(server.uri).search_runs(["1"])
    server.histories(server.trials(server.study("first")))
    after = MlflowClient(server.uri).search_runs(["1"])
    assert [run.to_dictionary() for run in before] == [run.to_dictionary() for run in after]
