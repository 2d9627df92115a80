"""Accuracy over GOps by method: `python benchmarks/pruning.py [--network resnet20]`, some 30 minutes on one core.

From the published weights on CIFAR-10, few epochs, every method with the same budget. Each tries its settings (below) at half of the
parameters; the one of largest (accuracy - 80 %) x (GOps that left) on validation data gets the other rates. A method's front is drawn from
all its trials, by validation alone; its members are then tested, once. L1 filter pruning is `slimming` without a penalty: of every block the
filters of least L1 norm go before the first step. A trial that is recorded (`results/pruning/NETWORK-IMAGES.jsonl`) is not run again.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from analysis.pareto import front_mask
from compress.artifact import save
from tasks import Part, Task, TaskSpec, evaluate, load, open_task
from tasks.downloads import data_root
from trainables.trainer import Recipe, Trainer

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "results/pruning"
EPOCHS, SEED = 4, 0
PILOT, RATES = 0.5, (0.2, 0.35, 0.65)
FLOOR = 0.8
SWD = {"a_min": 1e5, "a_max": 1e9}
SLIM = {"training_epochs": 1, "fine_tuning_epochs": 1}
L1 = {
    "liu2017_penalty": 0.0,
    "importance": "filter_l1",
    "pruning_criterion": "safe_local",
    "training_epochs": 0,
    "fine_tuning_epochs": 1,
}
# method in the table: its word, its settings (knobs, learning rate)
METHODS = {
    "swd": (
        "swd",
        [
            ({**SWD, "pruning_criterion": "safe"}, 2e-3),
            ({**SWD, "pruning_criterion": "global"}, 2e-3),
            ({**SWD, "pruning_criterion": "safe_local", "importance": "scaled"}, 2e-3),
        ],
    ),
    "slimming": (
        "slimming",
        [
            ({**SLIM, "pruning_criterion": "safe", "liu2017_penalty": 1.0}, 2e-3),
            ({**SLIM, "pruning_criterion": "global", "liu2017_penalty": 1.0}, 2e-3),
            ({**SLIM, "pruning_criterion": "safe_local", "liu2017_penalty": 0.1, "importance": "scaled"}, 2e-3),
        ],
    ),
    "L1 filters": ("slimming", [(L1, 1e-3), (L1, 2e-3), ({**L1, "pruning_iterations": 2}, 2e-3)]),
}
COLOURS = {"swd": "#1f6fb2", "slimming": "#d9822b", "L1 filters": "#5a8f3c"}
MARKS = {"swd": "o", "slimming": "s", "L1 filters": "D"}
LINES = {"swd": "-", "slimming": "-", "L1 filters": "--"}
GREY = "#6b6b6b"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--images", type=int, default=4_000, help="an epoch")
    parser.add_argument("--picture", type=Path, help="where the fronts are drawn, such as docs/pruning.png")
    parser.add_argument("--only-show", action="store_true", help="what is recorded; nothing is trained")
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = TaskSpec(network=arguments.network, data="cifar10", batch_size=128)
    task, start = open_task(spec, data_root(arguments.data_root))
    runs = Runs(task, start.state, PLACE / f"{arguments.network}-{arguments.images}.jsonl", arguments.images)
    images = (
        f"{EPOCHS} epochs of {arguments.images:,} images in batches of {task.spec.batch_size}, seed {SEED}, one thread"
    )
    trials = sum(len(settings) + len(RATES) for _, settings in METHODS.values())
    print(f"{arguments.network}, {trials} trials of {images}; adamw, cosine; {runs.about()}", flush=True)
    if not arguments.only_show:
        for name, (_, settings) in METHODS.items():
            for number in range(len(settings)):
                runs.trial(name, number, PILOT)
        for name in METHODS:
            for rate in RATES:
                runs.trial(name, runs.chosen(name), rate)
    fronts = {name: runs.front(name) for name in METHODS}
    table(fronts, runs)
    if arguments.picture:
        title = f"{arguments.network} on CIFAR-10: {EPOCHS} epochs of {arguments.images:,} images from the published weights"
        draw(fronts, runs.rows["dense"], title, arguments.picture)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )


class Runs:
    """What is recorded, and how a trial gets into it."""

    def __init__(self, task: Task, state: dict[str, torch.Tensor] | None, record: Path, images: int) -> None:
        self.task, self.state, self.record, self.images = task, state, record, images
        record.with_suffix("").mkdir(parents=True, exist_ok=True)
        lines = record.read_text().splitlines() if record.exists() else []
        self.rows = {row["trial"]: row for row in map(json.loads, lines)}
        parts = (task.data.validation, task.data.test)
        self.validation, self.test = (Part.of(part, task.data, torch.device("cpu")) for part in parts)
        self._measure_dense()

    def about(self) -> str:
        """What all of it costs, by what the trials so far took."""
        seconds = [row["seconds"] for row in self.rows.values() if "rate" in row]
        price = f"{np.mean(seconds):.0f} s a trial" if seconds else "price unknown before the first"
        return f"{len(seconds)} recorded, {price}"

    def keep(self, row: dict[str, object]) -> None:
        self.rows[str(row["trial"])] = row
        with self.record.open("a") as lines:
            lines.write(json.dumps(row) + "\n")

    def trainer(self, method: str, knobs: dict[str, object], rate: float) -> Trainer:
        optimizer = {"name": "adamw", "base": {"lr": rate, "weight_decay": 5e-4}, "schedule": "cosine"}
        recipe = Recipe(method=method, knobs=knobs, optimizer=optimizer, epochs=EPOCHS, images=self.images, seed=SEED)
        return Trainer(self.task, recipe, self.state, torch.device("cpu"))

    def _measure_dense(self) -> None:
        if "dense" not in self.rows:
            made = self.trainer("baseline", {}, 1e-3)
            metrics = made.measure()
            row = {"trial": "dense", "accuracy": metrics.accuracy, "gops": metrics.gops, "size": metrics.size}
            tested = evaluate(made.shipped.network, self.test)
            self.keep({**row, "parameters": metrics.parameters, "test": tested})

    def trial(self, name: str, number: int, rate: float) -> None:
        label = f"{name}/{number}/{rate}"
        if label in self.rows:
            return
        method, settings = METHODS[name]
        knobs, learning_rate = settings[number]
        started = time.perf_counter()
        made = self.trainer(method, {**knobs, "pruning_rate": rate, "target": "parameters"}, learning_rate)
        while made.epochs_done < EPOCHS:
            made.train_epoch()
        metrics = made.measure()
        save(self.file(label), made.shipped.data)
        row = {"trial": label, "method": name, "setting": number, "rate": rate, "accuracy": metrics.accuracy}
        row |= {"gops": metrics.gops, "parameters": metrics.parameters, "size": metrics.size}
        self.keep({**row, "seconds": time.perf_counter() - started})
        print(
            f"{label:<20} {row['seconds'] if 'seconds' in row else self.rows[label]['seconds']:>5.0f} s {metrics.accuracy:>7.2%} "
            f"{metrics.gops:.4f} GOps {metrics.parameters:>8,} parameters {metrics.size:>8,} bytes",
            flush=True,
        )

    def file(self, label: str) -> Path:
        return self.record.with_suffix("") / f"{label.replace('/', '-').replace(' ', '-')}.rf"

    def chosen(self, name: str) -> int:
        pilots = [self.rows[f"{name}/{number}/{PILOT}"] for number in range(len(METHODS[name][1]))]
        dense = self.rows["dense"]["gops"]
        return int(np.argmax([max(p["accuracy"] - FLOOR, 0) * (dense - p["gops"]) for p in pilots]))

    def front(self, name: str) -> list[dict[str, float]]:
        """Members by GOps, each tested once."""
        rows = [row for row in self.rows.values() if row.get("method") == name and "test_of" not in row]
        if not rows:
            return []
        mask = front_mask(np.array([[row["gops"], -row["accuracy"]] for row in rows]))
        members = sorted((row for row, kept in zip(rows, mask, strict=True) if kept), key=lambda row: row["gops"])
        for member in members:
            tested = f"test of {member['trial']}"
            if tested not in self.rows:
                network = load(str(self.file(member["trial"])))
                self.keep({"trial": tested, "test_of": member["trial"], "test": evaluate(network, self.test)})
            member["test"] = self.rows[tested]["test"]
        return members


def table(fronts: dict[str, list[dict[str, float]]], runs: Runs) -> None:
    print(
        f"\n{'method':<12} {'setting':>7} {'rate':>5} {'GOps':>7} {'of dense':>8} {'parameters':>10} {'bytes':>9} {'validation':>10} {'test':>7}"
    )
    dense = runs.rows["dense"]
    for name, members in {"dense": [dense], **fronts}.items():
        for row in members:
            setting = "*" * (row.get("setting") == runs.chosen(name)) if name != "dense" else ""
            print(
                f"{name:<12} {str(row.get('setting', '')) + setting:>7} {row.get('rate', 0):>5} {row['gops']:>7.4f} {row['gops'] / dense['gops']:>8.1%} "
                f"{row['parameters']:>10,} {row['size']:>9,} {row['accuracy']:>10.2%} {row['test']:>7.2%}"
            )
    print("\nall settings at half of the parameters; * goes on")
    for name, (_, settings) in METHODS.items():
        for number, (knobs, rate) in enumerate(settings):
            row = runs.rows.get(f"{name}/{number}/{PILOT}")
            if row:
                star = "*" if runs.chosen(name) == number else " "
                print(
                    f"{name:<12} {number}{star} {row['accuracy']:.2%} at {row['gops']:.4f} GOps: lr {rate:g}, {knobs}"
                )


def draw(fronts: dict[str, list[dict[str, float]]], dense: dict[str, float], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.8), dpi=150, layout="constrained")
    for name, members in fronts.items():
        cost = [1000 * row["gops"] for row in members]
        accuracy = [100 * row["accuracy"] for row in members]
        look = {"color": COLOURS[name], "marker": MARKS[name], "linestyle": LINES[name]}
        axes.plot(cost, accuracy, label=name, linewidth=1.5, markersize=6, markeredgecolor="white", **look)
    axes.plot(
        1000 * dense["gops"],
        100 * dense["accuracy"],
        "*",
        color="black",
        markersize=12,
        label=f"dense: {dense['accuracy']:.1%}".replace("%", " %"),
    )
    axes.axhline(100 * dense["accuracy"], color=GREY, linewidth=1, linestyle="--")
    axes.set_xlabel("million operations an image (2 MACs), of the shrunk network")
    axes.set_ylabel("validation accuracy in %")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
