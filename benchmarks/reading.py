"""How long analysis takes: a study of many trials in a real MLflow database, read and analysed.

    python benchmarks/reading.py --trials 1000 --epochs 60 --folder /tmp/analysis

The study is written as a search writes it: a ledger, the tables of its end, and MLflow's record of both by the recorder's own
delivery. What is measured is a process of its own a command, from the shell to the exit: median and spread of ``--runs``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

OBJECTIVES = {"accuracy": "max", "rate": "min"}
DENSE = {"accuracy": 0.917, "size": 1_078_888, "rate": 32.0, "ratio": 1.0, "gops": 0.0817, "parameters": 269_722}
WEIGHTS = 269_722


def main() -> None:
    parser = argparse.ArgumentParser(description="How long analysis takes.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True, help="for the study; one that is there is read again")
    parser.add_argument(
        "--keep-histories", action="store_true", help="every epoch in MLflow too, as a search leaves it"
    )
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    made = 0.0 if (folder / "mlflow.db").exists() else make(folder, arguments)
    print(f"{arguments.trials} trials of {arguments.epochs} epochs; written in {made:.0f} s")
    where = ["--results", str(folder)]
    commands = {
        "help": ["--help"],
        "pick": ["pick", "large", "--knee", *where],
        "front": ["front", "large", "--format", "csv", *where],
        "compare": ["compare", "large", "--format", "json", *where],
    }
    for name, words in commands.items():
        seconds = [timed(words, folder) for _ in range(arguments.runs)]
        wall, cpu = ([pair[i] for pair in seconds] for i in (0, 1))
        print(
            f"{name:<8} {statistics.median(wall):6.2f} s (min {min(wall):.2f}), processor {statistics.median(cpu):.2f} s"
        )
    names = ("mlflow", "pandas", "numpy", "scipy")
    print(f"n = {arguments.runs}; Python {platform.python_version()}, " + ", ".join(f"{n} {version(n)}" for n in names))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")


def timed(words: list[str], folder: Path) -> tuple[float, float]:
    """(wall, processor) seconds of one process."""
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "analysis", *words]
    subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def make(folder: Path, arguments: argparse.Namespace) -> float:
    """The study ``large`` under ``folder``; seconds."""
    from search.delivery import Delivery, TrackingCard
    from search.ledger import LEDGER, entries
    from search.recorder import _connect

    began, study = time.perf_counter(), folder / "large"
    (study / "artifacts").mkdir(parents=True)
    write(study, arguments.trials, arguments.epochs)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = _connect(uri)
    delivery = Delivery(study, uri, TrackingCard("large", "ratefront", (folder / "mlartifacts").as_uri()))
    for entry, _ in entries(study / LEDGER):
        if entry["event"] != "result" or arguments.keep_histories:
            delivery.apply(client, entry)
    return time.perf_counter() - began


def write(study: Path, trials: int, epochs: int) -> None:
    """Ledger, front and tables, of curves that are drawn: accuracies rise, files shrink, each trial to an end of its own."""
    from analysis.pareto import NEAR_CHANCE, front_mask
    from search.epochs import networks_of, trial_marks, write_epochs
    from search.front import Front, Member
    from search.ledger import LEDGER

    (study / "study.yaml").write_text("space: large\n")
    with (study / LEDGER).open("w") as ledger:
        for entry in events(np.random.default_rng(0), trials, epochs):
            ledger.write(json.dumps({"at": 1_700_000_000_000, **entry}) + "\n")
    rows = networks_of(study)
    write_epochs(study, rows)
    mask = front_mask(np.array([[-row["accuracy"], row["rate"]] for row in rows]))
    best = [row for row, on in zip(rows, mask, strict=True) if on]
    members = [
        Member(trial_id=r["trial_id"], epoch=int(r["epoch"]), metrics=r, config={}, artifact=r["artifact"])
        for r in best
    ]
    front = Front(sorted(members, key=lambda m: -m.metrics["accuracy"]), OBJECTIVES, DENSE, study)
    (study / "front.json").write_text(front.json())
    end = {
        "event": "front",
        "at": 1_700_000_000_000,
        "pareto": {m.trial_id: str(m.epoch) for m in members},
        "marks": trial_marks(rows, OBJECTIVES, 0.1 + NEAR_CHANCE),
        "files": ["front.json", "epochs.csv.gz", "study.yaml"],
        "networks": [],
        "metrics": {"front_size": len(members)},
        "interrupted": False,
        "resumed": False,
    }
    with (study / LEDGER).open("a") as ledger:
        ledger.write(json.dumps(end) + "\n")


def events(random, trials: int, epochs: int):
    params = {"space": "large", "chance": 0.1, "input_shape": [3, 32, 32], "train_images": 50_000}
    params |= {"objectives": ",".join(f"{name}:{way}" for name, way in OBJECTIVES.items())}
    params |= {f"dense_{name}": value for name, value in DENSE.items()}
    about = {"study_id": "large", "data": "cifar10", "split": "test-halves-5000"}
    tags = {**about, "kind": "study", "method": "deadzone", "network": "resnet20"}
    yield {"event": "study", "study_id": "large", "params": params, "tags": tags, "files": []}
    for number in range(trials):
        trial, bits = f"t{number:05d}", int(random.integers(3, 9))
        point = {
            "max_bits": bits,
            "base.lr": 10 ** random.uniform(-4, -2),
            "dz.weight_decay": 10 ** random.uniform(-2, 1),
        }
        config = {"method": "deadzone", "seed": 0, "epochs": epochs, "point": point}
        yield {"event": "start", "trial": trial, "name": trial, "config": config, "tags": about}
        aim, least = random.uniform(0.3, 0.92), 10 ** random.uniform(3.7, 5.4)
        for epoch in range(epochs + 1):
            done = epoch / epochs
            accuracy = 0.1 + (aim - 0.1) * (1 - np.exp(-4 * done)) + random.normal(0, 0.004)
            size = int(least * (1 + 2 * (1 - done)))
            yield {
                "event": "result",
                "trial": trial,
                "epoch": epoch,
                "reports": [report(trial, epoch, accuracy, size, random)],
            }
        yield {"event": "end", "trial": trial, "end": "done", "reason": ""}


def report(trial: str, epoch: int, accuracy: float, size: int, random) -> dict:
    """With as many numbers as a trial reports."""
    names = ("loss", "sparsity", "mean_bits", "parameters", "macs", "gops", "training_gops", "bops", "rel_bops")
    more = dict(
        zip(
            (*names, "rel_bops_dense", "learning_rate", "images_per_second", "seconds", "dead_zone"),
            random.random(14),
            strict=True,
        )
    )
    metrics = {
        "epoch": epoch,
        "accuracy": float(accuracy),
        "rate": 8 * size / WEIGHTS,
        "size": size,
        "ratio": 4 * WEIGHTS / size,
    }
    evaluation = {"correct": int(5000 * accuracy), "images": 5000, "device": "cpu", "dtype": "float32"}
    return {
        "metrics": {**more, **metrics},
        "artifact": f"{trial}-e{epoch:03d}.rf",
        "evaluation": evaluation,
        "again": False,
    }


if __name__ == "__main__":
    main()
