"""Every network that a study measured, of its ledger: one compressed table for the record, and each trial's best and rank in it."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.pareto import front_mask, ranks
from compress.artifact import save
from search.folder import ARTIFACTS
from search.ledger import LEDGER, entries

__all__ = ["EPOCHS", "networks_of", "trial_marks", "write_epochs"]

EPOCHS = "epochs.csv.gz"


def networks_of(folder: Path) -> list[dict[str, Any]]:
    """A row a network, in the order in which they were measured: trial_id, epoch, its metrics, artifact."""
    rows = []
    for entry, _ in entries(folder / LEDGER):
        for report in entry["reports"] if entry["event"] == "result" else ():
            if not report["again"]:  # a restarted trial repeats its epoch
                metrics = {"epoch": 0, **report["metrics"]}
                rows.append({"trial_id": entry["trial"], **metrics, "artifact": f"{ARTIFACTS}/{report['artifact']}"})
    return rows


def write_epochs(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """As ``epochs.csv.gz`` in the study's folder: the same rows are the same bytes. Nothing where there is none."""
    if not rows:
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
    save(folder / EPOCHS, gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0))


def trial_marks(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], least: float
) -> dict[str, dict[str, float]]:
    """By trial ``best_<objective>``, and ``rank``: the Pareto rank of its best network among all; 0 is the front.

    Only what is at least so accurate counts; trials without such a network have no marks.
    """
    able = [row for row in rows if row["accuracy"] >= least]
    if not able:
        return {}
    signs = np.array([-1.0 if way == "max" else 1.0 for way in objectives.values()])
    points = np.array([[float(row[name]) for name in objectives] for row in able]) * signs
    places: dict[str, list[int]] = {}
    for place, row in enumerate(able):
        places.setdefault(row["trial_id"], []).append(place)
    own = {trial: np.array(of_it)[front_mask(points[of_it])] for trial, of_it in places.items()}
    ranked = np.full(len(able), len(able))  # what another network of its trial dominates is behind that one
    candidates = np.concatenate(list(own.values()))
    ranked[candidates] = ranks(points[candidates])
    marks = {}
    for trial, of_it in places.items():
        best = points[of_it].min(axis=0) * signs
        marks[trial] = {f"best_{name}": float(value) for name, value in zip(objectives, best, strict=True)}
        marks[trial]["rank"] = int(ranked[of_it].min())
    return marks
