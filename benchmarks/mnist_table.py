"""The MNIST table: `python benchmarks/mnist_table.py [lenet300 lenet5]` trains what is missing and measures every file again.

The knobs below were chosen on the 10,000 held-out training images alone; the seeds were written down before any of them was trained.
A trial that was stopped goes on at its last whole epoch (`results/mnist_table`). Its file goes to `docs/artifacts`; each is decoded and
tested. `--only-measure` trains nothing. At the end of a training the estimate in its loss is put over the coded bytes of the tensors that
it covers (goal: within 5 %).
"""

import argparse
import hashlib
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from compress.artifact import decode, read, save
from compress.entropy import PRIORS
from compress.reparam import latents
from tasks import Part, Task, TaskSpec, evaluate, load, open_task
from tasks.downloads import data_root
from trainables.trainer import Recipe, Trainer

ROOT = Path(__file__).parent.parent
SEEDS = (1, 2, 3)
PLACE, CHECKPOINTS = ROOT / "docs/artifacts", ROOT / "results/mnist_table"
ADAM = {"name": "adam", "base": {"lr": 3e-3}, "step": {"lr": 1e-2}, "prior": {"lr": 1e-2}, "schedule": "cosine"}
# network: batch size, epochs, knobs, optimizer, goal in bytes at a test error
TABLE = {
    "lenet300": (256, 120, {"lambda_RD": 1.45, "warm_up": 0.5, "prior": "context"}, ADAM, (2800, 0.019)),
    "lenet5": (
        128,
        20,
        {"lambda_RD": 2.1, "warm_up": 0.5, "prior": "context"},
        {**ADAM, "base": {"lr": 2e-3}},
        (2000, 0.010),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(TABLE)}; both where absent")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="train these alone")
    parser.add_argument(
        "--prior", choices=[*PRIORS], help="in place of the table's, into a folder of results/mnist_table"
    )
    parser.add_argument("--lambda-rd", type=float, help="in place of the table's, into a folder of results/mnist_table")
    parser.add_argument("--only-measure", action="store_true")
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for knob in ("prior", "lambda_RD"):
        if (value := getattr(arguments, knob.lower())) is not None:
            try_knob(knob, value)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread a trial, torch {torch.__version__}")
    for name in arguments.networks or TABLE:
        task = opened(name, arguments.data_root)
        if not arguments.only_measure:
            for seed in arguments.seeds:
                train(name, seed, task)
        measure(name, task)


def try_knob(knob: str, value: str | float) -> None:
    global PLACE, CHECKPOINTS
    PLACE = CHECKPOINTS = CHECKPOINTS / str(value)
    for _, _, knobs, _, _ in TABLE.values():
        knobs[knob] = value


def opened(name: str, root: Path | None) -> Task:
    spec = TaskSpec(network=name, data="mnist", start="train", batch_size=TABLE[name][0], shift=1)
    return open_task(spec, data_root(root))[0]


def path_of(name: str, seed: int) -> Path:
    return PLACE / f"{name}-s{seed}.rf"


def train(name: str, seed: int, task: Task) -> None:
    if path_of(name, seed).exists():
        return
    _, epochs, knobs, optimizer, _ = TABLE[name]
    recipe = Recipe(method="epr", knobs=knobs, optimizer=optimizer, epochs=epochs, seed=seed)
    trainer = Trainer(task, recipe, None, torch.device("cpu"))
    half = CHECKPOINTS / f"{name}-s{seed}.pt"
    half.parent.mkdir(parents=True, exist_ok=True)
    if half.exists():
        trainer.restore(torch.load(half, weights_only=True))
    steps = -(-trainer.images // task.spec.batch_size) * (epochs - trainer.epochs_done)
    price = trainer_price(task, recipe)
    print(
        f"{name}, seed {seed}: {steps:,} steps of {price * 1000:.0f} ms, about {steps * price / 60:.0f} minutes",
        flush=True,
    )
    started = time.perf_counter()
    while trainer.epochs_done < epochs:
        trainer.train_epoch()
        torch.save(trainer.state(), half)
    metrics = trainer.measure()
    PLACE.mkdir(parents=True, exist_ok=True)
    save(path_of(name, seed), trainer.shipped.data)
    spent = (time.perf_counter() - started) / 60
    estimate, coded = trainer.method.measures(trainer.model)["estimated_size"], coded_bytes(trainer)
    print(
        f"  {spent:.1f} minutes: {metrics.size:,} bytes, validation error {1 - metrics.accuracy:.2%}, "
        f"estimate {estimate:,.0f} / coded {coded:,} = {estimate / coded:.3f}",
        flush=True,
    )
    half.unlink()


def coded_bytes(trainer: Trainer) -> int:
    """Bytes of the index maps that the estimate covers: their sections without the decoders' floats."""
    artifact, covered = trainer.shipped.artifact, {name for name, _, _ in latents(trainer.model)}
    floats = {t.name: 4 * sum(np.size(v) for v in t.floats.values()) for t in artifact.tensors}
    return sum(s.size - floats[s.name] for s in artifact.sections if s.name in covered)


def trainer_price(task: Task, recipe: Recipe) -> float:
    """Seconds a step, on a trainer that is thrown away."""
    return Trainer(task, recipe, None, torch.device("cpu")).step_seconds()


def measure(name: str, task: Task) -> None:
    parts = [Part.of(arrays, task.data, torch.device("cpu")) for arrays in (task.data.validation, task.data.test)]
    size_goal, error_goal = TABLE[name][4]
    rows, sums = [], []
    print(f"\n{'file':<16} {'bytes':>7} {'ratio':>7} {'validation error':>17} {'test error':>11}")
    for path in (path_of(name, seed) for seed in SEEDS):
        if path.exists():
            data, network = read(path), load(str(path))
            weights = int(decode(data).card["original_weights"])
            errors = [1 - evaluate(network, part) for part in parts]
            rows.append([len(data), 4 * weights / len(data), *errors])
            sums.append(f"{hashlib.sha256(data).hexdigest()}  {path.name}")
            print(line(path.name, rows[-1]))
    if rows:
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        met = mean[0] <= size_goal and mean[3] <= error_goal
        print(
            line(f"mean of {len(rows)}", mean)
            + f"   goal {size_goal:,} bytes at {error_goal:.1%}: {'met' if met else 'missed'}"
        )
    record = PLACE / "SHA256SUMS"
    known = record.read_text().splitlines() if record.exists() else []
    differ = [s for s in sums if s not in known]
    print("all as in SHA256SUMS" if not differ else "not in SHA256SUMS:\n" + "\n".join(differ))


def line(name: str, row: list[float]) -> str:
    return f"{name:<16} {row[0]:>7,.0f} {row[1]:>6.0f}x {row[2]:>17.2%} {row[3]:>11.2%}"


if __name__ == "__main__":
    main()
