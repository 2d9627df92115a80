"""Every network of a ledger as one table, and what each trial came to."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import ranks
from search.epochs import EPOCHS, networks_of, trial_marks, write_epochs
from search.ledger import LEDGER, Ledger

WAYS = {"accuracy": "max", "rate": "min"}


def line(trial, *reports):
    return {"trial": trial, "epoch": 1, "failed": False, "reason": "", "reports": list(reports)}


def one(epoch, accuracy=0.9, again=False, **more):
    metrics = {"epoch": float(epoch), "accuracy": accuracy, "rate": 4.0, **more}
    return {"metrics": metrics, "artifact": f"t-e{epoch:03d}.rf", "evaluation": {}, "again": again}


@pytest.fixture
def folder(tmp_path):
    ledger = Ledger(tmp_path / LEDGER)
    ledger.append("start", trial="a", config={})
    ledger.append("result", **line("a", one(0, 0.1), one(1, dead_zone=0.5)))
    ledger.append("result", **line("b", one(1, float("nan"))))
    ledger.append("result", **line("a", one(1, 0.7, again=True)))
    ledger.append("end", trial="a", end="done", reason="")
    return tmp_path


def test_networks_in_order_and_a_repeated_epoch_once(folder):
    rows = networks_of(folder)
    assert [(row["trial_id"], row["epoch"], row["artifact"]) for row in rows] == [
        ("a", 0, "artifacts/t-e000.rf"),
        ("a", 1, "artifacts/t-e001.rf"),
        ("b", 1, "artifacts/t-e001.rf"),
    ]
    assert rows[1]["accuracy"] == 0.9


def test_a_compressed_table_with_every_column_and_digit(folder):
    write_epochs(folder, [*networks_of(folder), {"trial_id": "c", "epoch": 2, "accuracy": 1 / 3}])
    data = (folder / EPOCHS).read_bytes()
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(data).decode())))
    assert list(rows[0]) == ["trial_id", "epoch", "accuracy", "rate", "artifact", "dead_zone"]
    assert [row["epoch"] for row in rows] == ["0", "1", "1", "2"]
    assert (rows[1]["dead_zone"], rows[2]["dead_zone"]) == ("0.5", "")
    assert float(rows[3]["accuracy"]) == 1 / 3
    write_epochs(folder, [*networks_of(folder), {"trial_id": "c", "epoch": 2, "accuracy": 1 / 3}])
    assert (folder / EPOCHS).read_bytes() == data


def test_a_study_without_a_ledger_has_no_table(tmp_path):
    assert networks_of(tmp_path) == []
    write_epochs(tmp_path, [])
    assert not (tmp_path / EPOCHS).exists()


def test_marks_worked_by_hand():
    numbers = [("a", 0.9, 4), ("a", 0.8, 2), ("b", 0.85, 4), ("b", 0.7, 3), ("c", 0.6, 5), ("d", 0.12, 1)]
    rows = [{"trial_id": t, "accuracy": a, "rate": r} for t, a, r in numbers]
    assert trial_marks(rows, WAYS, 0.15) == {
        "a": {"best_accuracy": 0.9, "best_rate": 2.0, "rank": 0},
        "b": {"best_accuracy": 0.85, "best_rate": 3.0, "rank": 1},
        "c": {"best_accuracy": 0.6, "best_rate": 5.0, "rank": 2},
    }
    assert trial_marks(rows[-1:], WAYS, 0.15) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 9), st.integers(1, 5)), min_size=1, max_size=12))
def test_a_trial_has_the_rank_of_its_best_network(numbers):
    rows = [{"trial_id": t, "accuracy": a / 10, "rate": float(r)} for t, a, r in numbers]
    all_ranks = ranks(np.array([[-row["accuracy"], row["rate"]] for row in rows]))
    marks = trial_marks(rows, WAYS, 0.0)
    first = {trial for trial, mark in marks.items() if mark["rank"] == 0}
    assert first == {row["trial_id"] for row, rank in zip(rows, all_ranks, strict=True) if rank == 0}
    for trial, mark in marks.items():
        of_it = [int(rank) for row, rank in zip(rows, all_ranks, strict=True) if row["trial_id"] == trial]
        assert mark["rank"] <= min(of_it)  # what a trial's own network dominates does not stand between
