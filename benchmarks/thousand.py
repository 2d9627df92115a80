"""A thousand trials of a trivial trainable, 8 at once: `python benchmarks/thousand.py [--trials 1000] [--epochs 2]`.

The real study (Ray Tune, Optuna, ledger, archive, MLflow), with a trainable that reports numbers made up from its knobs and writes a
small file. For each tenth of the search: resident memory of the driver, milliseconds between results, milliseconds of the driver's
callbacks a result. Then how many kilobytes a trial costs, and how many trials each store holds.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import optuna  # noqa: E402
import ray  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

import trainables  # noqa: E402
from compress.metrics import METRIC_NAMES  # noqa: E402
from search import Settings  # noqa: E402
from search.delivery import STATE  # noqa: E402
from search.folder import ARTIFACTS  # noqa: E402
from search.ledger import LEDGER  # noqa: E402
from search.searcher import open_storage  # noqa: E402
from search.study import run  # noqa: E402
from search_spaces import Space  # noqa: E402


def trivial() -> type[ray.tune.Trainable]:
    """What reports as a trial does, and trains nothing."""

    class Trivial(ray.tune.Trainable):
        def setup(self, config: dict[str, Any], ground: Any = None) -> None:
            ground = ray.get(ground) if isinstance(ground, ray.ObjectRef) else ground
            self.artifacts, self.done = Path(ground.artifacts), 0
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.knobs, self.epochs, self.done = new_config["point"], new_config["epochs"], 0
            return True

        def step(self) -> dict[str, Any]:
            first = {"epoch_0": self._report(0)} if self.done == 0 else {}
            self.done += 1
            return {**self._report(self.done), **first, "failed": False, "done": self.done >= self.epochs}

        def _report(self, epoch: int) -> dict[str, Any]:
            rate = float(self.knobs["max_bits"])  # five sizes: the front stays small, as a real one does
            numbers = dict.fromkeys(METRIC_NAMES, 1.0)
            numbers |= {"epoch": epoch, "rate": rate, "size": int(2000 * rate), "parameters": 18814, "macs": 18000}
            numbers["accuracy"] = 0.5 + rate / 20 - self.knobs["init_deadzone_logit"] / 9
            name = f"{self.trial_id}-e{epoch:03d}.rf"
            (self.artifacts / name).write_bytes(b"x" * 500)
            return {**numbers, "measures": [], "artifact": name, "evaluation": {}}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "trial.json").write_text(json.dumps({"done": self.done}))

        def load_checkpoint(self, checkpoint: Any) -> None:
            self.done = json.loads(Path(checkpoint, "trial.json").read_text())["done"]

    return Trivial


class Watch:
    """The driver's memory and the time of every result, at the end of each trial."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, float]] = []
        self.busy, self.results = 0.0, 0

    def around(self, owner: Any, name: str, ends: bool = False) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            found = function(*arguments, **options)
            self.busy += time.perf_counter() - started
            self.results += name == "_on_training_result"
            if ends:
                self.rows.append((time.perf_counter(), self.results, self.busy))
                self.memory.append(resident())
            return found

        self.memory: list[float] = []
        setattr(owner, name, call)

    def table(self) -> list[str]:
        lines = []
        tenth = max(1, len(self.rows) // 10)
        for start in range(0, len(self.rows) - tenth, tenth):
            (t0, n0, b0), (t1, n1, b1) = self.rows[start], self.rows[start + tenth]
            memory = statistics.median(self.memory[start : start + tenth])
            each = 1000 / max(1, n1 - n0)
            lines.append(
                f"trials {start:>4}-{start + tenth:<4} {memory:7.1f} MB  {(t1 - t0) * each:6.1f} ms a result, of it "
                f"{(b1 - b0) * each:5.1f} ms of the driver's"
            )
        if len(self.memory) < 10:
            return lines
        early, late = (statistics.median(self.memory[k * tenth : (k + 1) * tenth]) for k in (1, 8))
        return [*lines, f"from the second tenth to the ninth {1000 * (late - early) / (7 * tenth):.0f} kB a trial"]


def resident() -> float:
    """Megabytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sampler", default="auto")
    a = parser.parse_args()
    from ray.tune.execution.tune_controller import TuneController

    watch = Watch()
    watch.around(TuneController, "_on_training_result")
    watch.around(TuneController, "_schedule_trial_stop", True)
    trainables.load = lambda *words: trivial()
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=40)
    space = Space.load("smoke", {"budget.trials": a.trials, "budget.epochs": a.epochs, "sampler": a.sampler})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as results:
        began = time.time()
        run(space, Settings(name="thousand", results=Path(results), quiet=True))
        spent = time.time() - began
        print(f"{platform.machine()}, Python {platform.python_version()}, Ray {ray.__version__}")
        print(f"{a.trials} trials of {a.epochs} epochs, 8 at once: {spent:.0f} s", *watch.table(), sep="\n", flush=True)
        delivered(Path(results) / "thousand")
        print(json.dumps(stores(Path(results))))


def delivered(folder: Path) -> None:
    """Wait for the thread that writes MLflow's record, which a busy machine leaves behind."""
    wanted = (folder / LEDGER).stat().st_size
    while json.loads((folder / STATE).read_text().splitlines()[-1]).get("position") != wanted:
        time.sleep(1)


def stores(results: Path) -> dict[str, Any]:
    folder = results / "thousand"
    study = optuna.load_study(study_name="smoke", storage=open_storage(folder))
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    number, found, token = client.get_experiment_by_name("ratefront").experiment_id, [], None
    while not found or token:
        page = client.search_runs([number], page_token=token)
        found, token = [*found, *page], page.token
    with open(folder / "trials.csv", newline="") as file:
        ends = Counter(row["end"] for row in csv.DictReader(file))
    return {
        "trials.csv": dict(ends),
        "Ray": len(list(folder.glob("trial_*/result.json"))),
        "journal": dict(Counter(trial.state.name for trial in study.trials)),
        "MLflow": dict(Counter(one.info.status for one in found)),
        "files left": len(list((folder / ARTIFACTS).iterdir())),
        "front": len(json.loads((folder / "front.json").read_text())),
    }


if __name__ == "__main__":
    main()
