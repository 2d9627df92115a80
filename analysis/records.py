"""Studies as MLflow has them, from a local database or a server: facts, trials, every measured network, the front.

The parent run carries every epoch of every trial as one compressed CSV. Where it has none yet, of a search that still runs
or was killed, the child runs' metric histories are read instead.
"""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.pareto import NEAR_CHANCE, front_mask
from analysis.server import EPOCHS, Server, Study
from analysis.studies import FRONT, BadStudy

__all__ = ["Record", "read_record", "records"]

_HEAD = ("method", "seed", "epochs")
_SHOWN = ("rate", "size", "ratio", "gops")  # absent where nothing was measured yet
_TRIAL = ["method", "seed", "end", "reason", "epochs"]
_TOLD = ("test_accuracy", "seeds", "seeds_accuracy", "seeds_std", "on_front")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One study. ``objectives`` name -> "min" | "max"; ``dense`` the dense network's metrics (accuracy, size, gops ...).

    ``trials``: a row a trial, index ``trial_id``; columns method, seed, end, reason, epochs (done) and one a knob, of its own
    type. ``epochs``: a row a measured network: trial_id, epoch, its metrics (accuracy in [0, 1] on validation data, size in
    bytes, rate in bits a weight, seconds, ...) and artifact, the file's path in the study. ``front``: those rows of ``epochs`` that
    are on the study's front, the most accurate first, with test_accuracy (NaN where test data were not read) and what other seeds
    made of it: ``seeds`` how many, ``seeds_accuracy`` and ``seeds_std``, mean and spread of its accuracy, ``on_front`` the chance that
    it really is on the front, below 0.5 luck; NaN where it was not trained again.
    """

    name: str
    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    objectives: Mapping[str, str]
    dense: Mapping[str, float]
    chance: float
    split: str
    data: str
    method: str
    network: str
    input_shape: tuple[int, ...]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    front: pd.DataFrame


def records(studies: Sequence[str], uri: str, experiment: str = "ratefront") -> list[Record]:
    """The studies of these names (or folders, or run ids), in that order; BadStudy for one that MLflow does not know."""
    server = Server(uri, experiment)
    return [read_record(server, study) for study in server.named(studies)]


def read_record(server: Server, study: Study) -> Record:
    """One study; BadStudy where its record is not that of a search."""
    facts = _facts(study)
    trials = server.trials(study)
    epochs = _epochs(server, study, trials, list(facts["objectives"]))
    front = _front(server, study, epochs, facts)
    return Record(
        name=study.name,
        run_id=study.run_id,
        tags=study.tags,
        params=study.params,
        trials=_trials(trials, epochs),
        epochs=epochs,
        front=front,
        **facts,
    )


def _facts(study: Study) -> dict[str, Any]:
    """What the parent run says of the study as a whole."""
    try:
        pairs = [text.partition(":") for text in study.params["objectives"].split(",")]
        dense = {k.removeprefix("dense_"): float(v) for k, v in study.params.items() if k.startswith("dense_")}
        dense |= {k.removeprefix("dense_"): v for k, v in study.metrics.items() if k.startswith("dense_")}
        return {
            "objectives": {name: way for name, _, way in pairs},
            "dense": dense,
            "chance": float(study.params["chance"]),
            "input_shape": tuple(int(n) for n in ast.literal_eval(study.params["input_shape"])),
            **{name: study.tags[name] for name in ("split", "data", "method", "network")},
        }
    except KeyError as error:
        raise BadStudy(
            f"study = {study.name!r}: its record has no {error}; the search ended before it began"
        ) from error
    except (ValueError, SyntaxError, TypeError) as error:
        raise BadStudy(f"study = {study.name!r}: its record is damaged ({error})") from error


def _trials(runs: Sequence[Study], epochs: pd.DataFrame) -> pd.DataFrame:
    """A row a child run; knobs as numbers or truth values where all are."""
    done = epochs.groupby("trial_id")["epoch"].max()
    rows = {}
    for run in runs:
        name = run.tags.get("trial_id", run.run_id)
        head = {
            "method": run.tags.get("method", ""),
            "seed": run.params.get("seed"),
            "end": run.tags.get("end", "running"),
        }
        knobs = {k: v for k, v in run.params.items() if k not in _HEAD}
        rows[name] = {**head, "reason": run.tags.get("reason", ""), "epochs": int(done.get(name, 0)), **knobs}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else _TRIAL)
    frame.index.name = "trial_id"
    for name in frame.columns.difference(["method", "end", "reason", "epochs"]):
        frame[name] = _typed(frame[name])
    return frame


def _typed(column: pd.Series) -> pd.Series:
    """Texts as what they were; absent and ``None`` as missing."""
    column = column.where(column.notna() & (column != "None"))
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        truth = column.map({"True": True, "False": False})
        return truth.astype("boolean") if truth.notna().equals(column.notna()) else column


def _epochs(server: Server, study: Study, trials: Sequence[Study], objectives: Sequence[str]) -> pd.DataFrame:
    path = _left(server, study, EPOCHS)
    frame = server.histories(trials) if path is None else _table(study, path)
    numbers = ["epoch", "accuracy", *objectives]
    missing = {"trial_id", *numbers} - set(frame)
    if missing and len(frame):
        raise BadStudy(f"study = {study.name!r}: {EPOCHS} has no column {', '.join(sorted(missing))}")
    wanted = [*frame.columns, "trial_id", *numbers, *_SHOWN, "artifact"]
    try:
        return frame.reindex(columns=list(dict.fromkeys(wanted))).astype(dict.fromkeys(numbers[1:], float))
    except ValueError as error:
        raise BadStudy(f"study = {study.name!r}: {EPOCHS} is damaged ({error})") from error


def _left(server: Server, study: Study, name: str) -> Path | None:
    """A file that the search left at its end; one of a study that was resumed since is old."""
    return None if study.tags.get("end", "running") == "running" else server.file(study, name)


def _table(study: Study, path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"trial_id": str})
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadStudy(f"study = {study.name!r}: {EPOCHS} is damaged ({error})") from error


def _front(server: Server, study: Study, epochs: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    """The front that the search left, else that of what was measured so far."""
    path = _left(server, study, FRONT)
    if path is None:
        return _front_of(epochs, facts).assign(**dict.fromkeys(_TOLD, np.nan))
    try:
        rows = pd.DataFrame([_told(row) for row in json.loads(path.read_text())], columns=["trial_id", "epoch", *_TOLD])
        rows = rows.astype({"trial_id": str, "epoch": int} | dict.fromkeys(_TOLD, float))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadStudy(f"study = {study.name!r}: {FRONT} is damaged ({error})") from error
    return rows.merge(epochs, on=["trial_id", "epoch"], how="inner")[[*epochs.columns, *_TOLD]]


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What front.json knows of a member that the table of epochs does not."""
    again = row.get("repeats") or {}
    reached = again.get("accuracy") or {}
    values = (row["test_accuracy"], again.get("seeds"), reached.get("mean"), reached.get("std"), again.get("on_front"))
    return {"trial_id": row["trial_id"], "epoch": row["epoch"], **dict(zip(_TOLD, values, strict=True))}


def _front_of(epochs: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    able = epochs[epochs["accuracy"] >= facts["chance"] + NEAR_CHANCE]
    signs = np.array([-1.0 if way == "max" else 1.0 for way in facts["objectives"].values()])
    front = able[front_mask(able[list(facts["objectives"])].to_numpy(float) * signs)]
    return front.sort_values("accuracy", ascending=False, ignore_index=True)
