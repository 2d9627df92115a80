"""The command: from MLflow's record to files, and back into the record."""

from __future__ import annotations

import argparse
import json

import pytest

from analysis.report import add_report, leave_report
from analysis.studies import BadStudy
from tests.analysis.recorded import record_of


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two studies in a real database, as a search leaves them."""
    root = tmp_path_factory.mktemp("results")
    for record in (record_of("first"), record_of("second", ("epr",), gops=True)):
        deliver(record, root)
    return root


def deliver(record, root):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    found = client.get_experiment_by_name("ratefront")
    experiment = found.experiment_id if found else client.create_experiment("ratefront", (root / "kept").as_uri())
    about = {"data": record.data, "split": record.split, "method": record.method, "network": record.network}
    run = client.create_run(
        experiment, tags={**record.tags, **about, "kind": "study", "end": "done"}, run_name=record.name
    )
    objectives = ",".join(f"{name}:{way}" for name, way in record.objectives.items())
    params = {"objectives": objectives, "chance": record.chance, "input_shape": list(record.input_shape)}
    for name, value in {**params, **{f"dense_{k}": v for k, v in record.dense.items()}}.items():
        client.log_param(run.info.run_id, name, value)
    folder = root / record.name
    folder.mkdir()
    record.epochs.assign(artifact="a.rf").to_csv(folder / "epochs.csv.gz", index=False)
    rows = json.loads(record.front.to_json(orient="records"))
    (folder / "front.json").write_text(json.dumps(rows))
    (folder / "study.yaml").write_text(f"command: tuner.py --name {record.name}\n")
    client.log_artifacts(run.info.run_id, str(folder))
    for trial_id, row in record.trials.iterrows():
        tags = {
            "trial_id": trial_id,
            "method": row["method"],
            "kind": "trial",
            "end": row["end"],
            "reason": row["reason"],
        }
        child = client.create_run(experiment, tags={**tags, "mlflow.parentRunId": run.info.run_id})
        for name in ("seed", "bits", "base.lr", "kind"):
            client.log_param(child.info.run_id, name, row[name])


def command(*words):
    parser = argparse.ArgumentParser()
    add_report(parser.add_subparsers())
    arguments = parser.parse_args(["report", *map(str, words)])
    return arguments.run(arguments)


def test_a_page_of_two_studies_is_written(results, tmp_path, capsys):
    out = tmp_path / "new" / "page.html"
    assert command("first", "second", "--results", results, "--out", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    text = out.read_text(encoding="utf-8")
    assert "tuner.py --name second" in text
    assert "python -m analysis report first second" in text
    assert '"0:t6"' in text
    assert '"1:t6"' in text


def test_pictures_go_where_they_are_asked_for(results, tmp_path, capsys):
    assert command("first", "--results", results, "--out", tmp_path / "p.html", "--png", tmp_path / "png") == 0
    told = capsys.readouterr().out.splitlines()[1:]
    assert told == [str(tmp_path / "png" / name) for name in ("front.png", "hypervolume.png")] + told[2:]
    assert len(told) == 4
    assert len(list((tmp_path / "png").iterdir())) == 4


def test_the_page_is_attached_under_one_name(results, tmp_path, capsys):
    from mlflow.tracking import MlflowClient

    assert command("first", "--results", results, "--out", tmp_path / "mine.html", "--attach") == 0
    assert "attached to first" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=f"sqlite:///{results}/mlflow.db")
    experiment = client.get_experiment_by_name("ratefront").experiment_id
    (run,) = client.search_runs([experiment], "tags.mlflow.runName = 'first'")
    assert "report.html" in [file.path for file in client.list_artifacts(run.info.run_id)]
    (other,) = client.search_runs([experiment], "tags.mlflow.runName = 'second'")
    assert "report.html" not in [file.path for file in client.list_artifacts(other.info.run_id)]


def test_bad_input_is_one_line(results, tmp_path):
    with pytest.raises(BadStudy, match=r"study = 'third': not in MLflow .* valid: second, first"):
        command("third", "--results", results)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadStudy, match=r"out = .*page.html': cannot be written"):
        command("first", "--results", results, "--out", tmp_path / "file" / "page.html")
    with pytest.raises(BadStudy, match=r"png = .*file': cannot be written"):
        command("first", "--results", results, "--out", tmp_path / "p.html", "--png", tmp_path / "file")


def test_a_search_that_has_ended_leaves_its_page(results):
    from mlflow.tracking import MlflowClient

    page = leave_report(results / "second", f"sqlite:///{results}/mlflow.db", "ratefront")
    assert page == results / "second" / "report.html"
    client = MlflowClient(tracking_uri=f"sqlite:///{results}/mlflow.db")
    experiment = client.get_experiment_by_name("ratefront").experiment_id
    (run,) = client.search_runs([experiment], "tags.mlflow.runName = 'second'")
    kept = client.download_artifacts(run.info.run_id, "report.html", str(results))
    with open(kept, "rb") as file:
        assert file.read() == page.read_bytes()


def test_a_record_that_is_not_whole_has_no_page_yet(results):
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{results}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ratefront").experiment_id
    run = client.create_run(experiment, tags={"kind": "study", "end": "running"}, run_name="third")
    with pytest.raises(BadStudy, match="has not got all of the study yet"):
        leave_report(results / "third", uri, "ratefront")
    client.set_tag(run.info.run_id, "end", "done")
    with pytest.raises(BadStudy, match="its record has no 'objectives'"):
        leave_report(results / "third", uri, "ratefront")
    client.delete_run(run.info.run_id)


def test_whatever_stands_in_the_way_of_a_page_is_one_line(results, monkeypatch):
    def broken(*arguments):
        raise MemoryError("no room\nat all")

    monkeypatch.setattr("analysis.report_page.page", broken)
    with pytest.raises(BadStudy, match=r"^MemoryError: no room$"):
        leave_report(results / "second", f"sqlite:///{results}/mlflow.db", "ratefront")
