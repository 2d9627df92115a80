"""Learning curves of whole trials, recorded once so that searches can be replayed in simulated time (`search.py`).

A table is gzipped JSON: the space, its data and dense network, and per configuration the draws and, from epoch 0
on, every epoch's metrics. Configurations are points of a QMC sequence over the space's unit cube, the same at every run, so
that recording goes on where it ended. It is written anew after each configuration, whole or not at all.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

METRICS = ("accuracy", "size", "rate", "gops", "rel_bops")
DATA = Path(__file__).parent / "data"


def table_path(name: str) -> Path:
    return DATA / f"curves_{name}.json.gz"


def read_table(path: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(path.read_bytes()))


def record(
    name: str, changes: Mapping[str, Any], count: int, seconds: float, table_name: str = "", embedded: bool = True
) -> None:
    """Go on until there are ``count`` configurations, or no time is left for another; a table of the space's name if none."""
    import optuna
    import torch

    from compress.artifact import save
    from search.ground import open_embedded, open_space
    from search.samplers import make_sampler
    from search.searcher import draw_from
    from search_spaces import Space
    from tasks.downloads import data_root
    from trainables.dense import make_dense

    torch.set_num_threads(1)
    path, began, slowest = table_path(table_name or name), time.time(), 0.0
    wanted, root = Space.load(name, dict(changes)), data_root()
    opened = open_embedded(wanted, root, "a recording", print) if embedded else open_space(wanted, root, True, print)
    space = opened.space
    dense = make_dense(opened.task, opened.start, space.file.seed, "cpu")
    torch.set_num_threads(1)  # make_dense puts back what it found, which its own start changed
    table: dict[str, Any] = {"space": name, "changes": dict(changes), "epochs": space.file.budget.epochs}
    table |= {"dense": {"accuracy": dense.accuracy, "size": dense.size, "rate": 32.0, "gops": dense.gops}}
    table |= {"chance": opened.task.chance, "data": opened.task.data.name, "embedded": embedded}
    table |= {"metrics": METRICS, "configs": []}
    if path.exists():
        table["configs"] = _configs_of(path, table)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler("qmc", space))
    for number in range(count):
        draw = draw_from(study.ask())
        point = space.point(draw)
        if number < len(table["configs"]):
            continue
        if time.time() - began + slowest > seconds:
            break
        started = time.time()
        curve, reason = _curve(opened.task, space.config(point), dense.state)
        draws = study.trials[-1].params
        entry = {"draws": draws, "curve": curve, "seconds": round(time.time() - started, 2)}
        table["configs"].append(entry | ({"failed": reason} if reason else {}))
        DATA.mkdir(exist_ok=True)
        save(path, gzip.compress(json.dumps(table, separators=(",", ":")).encode(), mtime=0))
        slowest = max(slowest, time.time() - started)
        print(f"{number + 1}/{count}: {entry['seconds']} s, {curve[-1]}", flush=True)


def _configs_of(path: Path, table: Mapping[str, Any]) -> list[Any]:
    """What was recorded before, under the same settings."""
    before = read_table(path)
    for key in ("changes", "data"):
        if before[key] != table[key]:
            raise SystemExit(f"{path.name}: has {key} = {before[key]}, not {table[key]}; --table names another")
    return list(before["configs"])


def _curve(task: Any, config: Mapping[str, Any], state: Any) -> tuple[list[list[float]], str]:
    """A row of METRICS for each epoch, the untrained network's first; the reason where it diverged."""
    import torch

    from trainables.base import recipe_of
    from trainables.dense import fixed_dense
    from trainables.trainer import Diverged, Trainer

    device = torch.device("cpu")
    start = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    given = None if task.spec.start == "scratch" else start
    trainer = Trainer(task, recipe_of(config), given, device, lambda: fixed_dense(task, state, device))
    rows = []
    try:
        rows.append(_row(trainer.measure()))
        for _ in range(trainer.recipe.epochs):
            rows.append(_row(trainer.epoch()))
    except Diverged as error:
        return rows, str(error)
    return rows, ""


def _row(metrics: Any) -> list[float]:
    return [float(f"{getattr(metrics, name):.6g}") for name in METRICS]
