"""Studies in a real MLflow: every number comes back as the trials reported it, from the table or from the histories."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.comparison import Levels, grouped
from analysis.records import records
from analysis.studies import BadStudy
from search.ledger import LEDGER, entries
from tests.analysis.conftest import DENSE


@pytest.fixture
def uri(recorded_studies, tmp_path):
    """A database of one's own, to spoil; its artifacts are those of all."""
    shutil.copy(recorded_studies / "mlflow.db", tmp_path / "own.db")
    return f"sqlite:///{tmp_path / 'own.db'}"


def measured(folder):
    """By trial and epoch, what the trials reported."""
    lines = [entry for entry, _ in entries(folder / LEDGER) if entry["event"] == "result"]
    return {(line["trial"], int(r["metrics"]["epoch"])): r for line in lines for r in line["reports"]}


def test_facts_of_a_study(recorded_studies, uri):
    first, second = records(["first", str(recorded_studies / "second")], uri)
    assert (first.name, second.name) == ("first", "second")
    assert (first.objectives, first.chance) == ({"accuracy": "max", "rate": "min"}, 0.1)
    assert (first.split, first.data, first.method, first.network) == ("holdout-300", "digits", "deadzone", "mlp")
    assert first.input_shape == (1, 8, 8)
    assert first.dense == DENSE | {"test_accuracy": 0.9}
    assert records([first.run_id], uri)[0].name == "first"


def test_one_that_is_named_twice_is_one(recorded_studies, uri):
    assert [one.name for one in records(["first", str(recorded_studies / "first"), "second"], uri)] == [
        "first",
        "second",
    ]


@pytest.mark.parametrize("began", [True, False], ids=["a trial runs", "no trial yet"])
def test_a_study_in_its_first_minute_is_empty(uri, began):
    (whole,) = records(["first"], uri)
    client = MlflowClient(uri)
    run = client.create_run(client.get_run(whole.run_id).info.experiment_id, tags={**whole.tags, "end": "running"})
    for name, value in whole.params.items():
        client.log_param(run.info.run_id, name, value)
    if began:
        child = {"mlflow.parentRunId": run.info.run_id, "kind": "trial", "trial_id": "t9", "method": "deadzone"}
        client.create_run(run.info.experiment_id, tags=child)
    (young,) = records([run.info.run_id], uri)
    assert (len(young.trials), len(young.epochs), len(young.front)) == (int(began), 0, 0)
    (group,) = grouped([young])
    assert group.table(Levels())["front"].item() == 0


def test_every_network_as_it_was_reported(recorded_studies, uri):
    (record,) = records(["first"], uri)
    reported = measured(recorded_studies / "first")
    assert len(record.epochs) == len(reported) == 8
    for row in record.epochs.to_dict("records"):
        told = reported[row["trial_id"], row["epoch"]]
        assert row["artifact"] == f"artifacts/{told['artifact']}"
        assert told["metrics"].items() <= row.items()


def test_a_row_a_trial_with_knobs_of_their_own_type(recorded_studies, uri):
    (record,) = records(["first"], uri)
    assert list(record.trials.index) == ["t0", "t1"]
    assert record.trials["max_bits"].tolist() == [8, 4]
    assert record.trials["max_bits"].dtype.kind == "i"
    assert (
        record.trials[["method", "end", "reason", "epochs"]].to_dict("records")
        == [{"method": "deadzone", "end": "done", "reason": "", "epochs": 3}] * 2
    )


def test_the_front_is_the_search_s(recorded_studies, uri):
    (record,) = records(["first"], uri)
    rows = json.loads((recorded_studies / "first" / "front.json").read_text())
    assert record.front[["trial_id", "epoch", "accuracy"]].to_dict("records") == [
        {name: row[name] for name in ("trial_id", "epoch", "accuracy")} for row in rows
    ]
    assert list(record.front["artifact"]) == [row["artifact"] for row in rows]
    assert record.front[["test_accuracy", "seeds", "on_front"]].isna().all(axis=None)


def test_a_search_that_was_cut_off_is_read_from_its_histories(uri):
    (whole,) = records(["first"], uri)
    MlflowClient(uri).set_tag(whole.run_id, "end", "running")
    (record,) = records(["first"], uri)
    order = ["trial_id", "epoch"]
    same = [name for name in whole.epochs if name != "artifact"]
    found, expected = (r.epochs.sort_values(order, ignore_index=True)[same] for r in (record, whole))
    pd.testing.assert_frame_equal(found.astype({"epoch": int}), expected, check_dtype=False)
    pd.testing.assert_frame_equal(
        record.front[[*order, "accuracy", "size"]].astype({"epoch": int}),
        whole.front[[*order, "accuracy", "size"]],
        check_dtype=False,
    )


def test_what_other_seeds_made_of_a_member(recorded_studies, uri, tmp_path):
    (record,) = records(["first"], uri)
    rows = json.loads((recorded_studies / "first" / "front.json").read_text())
    rows[0]["repeats"] = {"seeds": 3, "accuracy": {"mean": 0.5, "std": 0.25}, "on_front": 0.125, "luck": True}
    _replace(uri, tmp_path, record.run_id, "front.json", json.dumps(rows).encode())
    (record,) = records(["first"], uri)
    names = ["seeds", "seeds_accuracy", "seeds_std", "on_front"]
    assert record.front.loc[0, names].tolist() == [3, 0.5, 0.25, 0.125]
    assert record.front.loc[1:, names].isna().all(axis=None)


def _replace(uri, folder, run, name, data):
    """Another content of a run's file, in a place of its own."""
    old = MlflowClient(uri).get_run(run).info.artifact_uri
    here = folder / "artifacts-of-my-own"
    shutil.copytree(old.removeprefix("file://"), here, dirs_exist_ok=True)
    (here / name).write_bytes(data)
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.execute("update runs set artifact_uri = ? where run_uuid = ?", (here.as_uri(), run))
    database.close()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("epochs.csv.gz", b"no gzip", "epochs.csv.gz is damaged"),
        ("epochs.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-12], "epochs.csv.gz is damaged"),
        ("epochs.csv.gz", gzip.compress(b"trial_id,epoch\nt0,1\n"), "epochs.csv.gz has no column accuracy"),
        ("front.json", b"[{]", "front.json is damaged"),
        ("front.json", b"[1]", "front.json is damaged"),
        ("front.json", b'[{"epoch": 1}]', "front.json is damaged"),
    ],
    ids=["no gzip", "cut off", "a column less", "no json", "no object", "a key less"],
)
def test_a_damaged_record_is_one_line(uri, tmp_path, name, data, message):
    (record,) = records(["first"], uri)
    _replace(uri, tmp_path, record.run_id, name, data)
    with pytest.raises(BadStudy, match=message) as caught:
        records(["first"], uri)
    assert str(caught.value).startswith("study = 'first': ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("delete from params where key = 'chance'", "its record has no 'chance'"),
        ("update params set value = 'much' where key = 'dense_size'", "its record is damaged"),
        ("update params set value = '[1' where key = 'input_shape'", "its record is damaged"),
        ("delete from tags where key = 'split'", "its record has no 'split'"),
    ],
)
def test_facts_that_are_missing_or_malformed(uri, sql, message):
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.execute(sql)
    database.close()
    with pytest.raises(BadStudy, match=f"study = 'first': {message}"):
        records(["first"], uri)


def test_an_unknown_study_names_those_there(uri):
    with pytest.raises(BadStudy, match=r"study = 'frist': not in MLflow at .*; valid: second, first$"):
        records(["first", "frist"], uri)


def test_ends_and_numbers_are_python_s_own(uri):
    (record,) = records(["second"], uri)
    assert np.isfinite(record.epochs[["accuracy", "size", "rate", "seconds"]].to_numpy()).all()
    assert record.epochs["size"].dtype.kind == "i"
