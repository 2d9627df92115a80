"""What a search costs over its training: `python benchmarks/overhead.py [trial|reuse|report|start ...]`, all where none is named.

trial   a trial (training, evaluation, file, checkpoint, report) over a bare PyTorch loop that trains the same network on as many
        images and evaluates it on the same ones as often; by turns, on random 32x32 images.
reuse   one more trial in an actor that is there already: from the last report of one trial to the first of the next, less
        the epoch itself.
report  what the driver does for a report: scheduler, searcher, archive, record, display, checkpoint.
start   where the seconds before the first epoch go.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
EPOCHS = 3


def noise(train: int = 50_000, test: int = 10_000) -> Any:
    """Random colour images of 32x32, as many as CIFAR-10 has."""
    from tasks.data import Arrays, Source

    draw = np.random.default_rng(0)

    def part(count: int) -> Arrays:
        return Arrays(draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), np.arange(count) % 10)

    classes = [str(n) for n in range(10)]
    return Source(name="noise", train=part(train), test=part(test), classes=classes, flip=True, pad=4)


def little() -> Any:
    """The same, fewer: where the time of an epoch does not matter."""
    return noise(1_000, 1_000)


def given() -> Path:
    """Random weights as a dense start: nothing is trained before the search."""
    from tasks.networks import build_network

    path = Path(os.environ["RATEFRONT_CACHE"], "random.pt")
    if not path.exists():
        torch.save(build_network("resnet20", (3, 32, 32), 10, {}).state_dict(), path)
    return path


def space(trials: int, epochs: int, images: int, method: str = "deadzone", data: str = "noise") -> Any:
    from search_spaces import Space

    raw = {
        "method": method,
        "task": {"network": "resnet20", "data": f"overhead:{data}", "start": str(given())},
        "budget": {"trials": trials, "epochs": epochs, "images": images},
        "resources": {"concurrent": 1},
        "optimizer": {"name": "adamw", "base": {"lr": 1e-3}},
        "search": {"base.lr": {"type": "float", "low": 1e-3, "high": 2e-3}},
    }
    return Space.from_raw("overhead", "overhead.yaml", raw)


@contextmanager
def watched(*targets: tuple[Any, str]) -> Iterator[dict[str, list[tuple[float, float]]]]:
    """(start, end) of every call of ``owner.name`` while the block runs, by name."""
    seen: dict[str, list[tuple[float, float]]] = {}
    kept = [(owner, name, getattr(owner, name)) for owner, name in targets]

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seen.setdefault(name, []).append((started, time.perf_counter()))

        return call

    try:
        for owner, name, function in kept:
            setattr(owner, name, wrap(name, function))
        yield seen
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def observed(
    wanted: Any, results: str, *targets: tuple[Any, str]
) -> tuple[dict[str, list[tuple[float, float]]], list[dict[str, Any]]]:
    """Run a study; the calls of ``targets``, and Ray's own result of every report in order."""
    from search import Settings, run
    from search.archive import Archive

    name = f"study-{time.time_ns()}"
    with watched((Archive, "on_trial_start"), (Archive, "on_trial_result"), *targets) as seen:
        run(wanted, Settings(name=name, results=Path(results), quiet=True))
    rows = [
        json.loads(line) for path in Path(results, name).glob("*/result.json") for line in path.read_text().splitlines()
    ]
    return seen, sorted(rows, key=lambda row: (row["timestamp"], row["trial_id"], row["training_iteration"]))


def bare(method: str, images: int, epochs: int) -> float:
    """Seconds of a plain loop in a process of its own, with one thread: the method's network, the same work, nothing else."""
    code = f"import overhead; print(overhead.loop({method!r}, {images}, {epochs}))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, preexec_fn=lambda: os.nice(15)
    )
    return float(done.stdout)


def loop(method: str, images: int, epochs: int) -> float:
    from torch.nn import functional as F
    from torch.nn.utils import parametrize

    from compress.methods import method_class
    from tasks.networks import build_network

    torch.set_num_threads(1)
    model = build_network("resnet20", (3, 32, 32), 10, {})
    method_class(method)().prepare(model, lambda: iter(()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    x = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(images) % 10
    held = torch.randint(0, 256, (5000, 3, 32, 32), dtype=torch.uint8)

    def batch(of: torch.Tensor, index: Any) -> torch.Tensor:
        return (of[index].float() / 255).contiguous(memory_format=torch.channels_last)

    def evaluate() -> None:
        model.eval()
        with torch.inference_mode(), parametrize.cached():
            for first in range(0, len(held), 100):
                model(batch(held, slice(first, first + 100))).argmax(1)
        model.train()

    started = time.perf_counter()
    evaluate()
    for _ in range(epochs):
        order = torch.randperm(images)
        for first in range(0, images, 128):
            index = order[first : first + 128]
            with parametrize.cached():
                loss = F.cross_entropy(model(batch(x, index)), labels[index])
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate()
    return time.perf_counter() - started


def trial(arguments: argparse.Namespace) -> None:
    """From the moment Ray starts the trial's actor to its last report, less what the actor's imports take."""
    images, pairs = arguments.images, []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as results:
            seen, rows = observed(space(1, EPOCHS, images, arguments.method), results)
            reports = [end for _, end in seen["on_trial_result"]]
            whole = rows[0]["time_this_iter_s"] + reports[-1] - reports[0]
        pairs.append((whole, bare(arguments.method, images, EPOCHS)))
        print(
            f"  trial {pairs[-1][0]:.2f} s, bare loop {pairs[-1][1]:.2f} s, ratio {pairs[-1][0] / pairs[-1][1]:.3f}",
            flush=True,
        )
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"trial: {arguments.method}, {EPOCHS} epochs of {images} images, n = {len(pairs)}: median ratio {ratio:.3f}")


def reuse(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as results:
        seen, rows = observed(space(12, 1, 128, data="little"), results)
    reports = seen["on_trial_result"]
    gaps = [
        now[0] - before[1] - row["time_this_iter_s"]
        for before, now, row in zip(reports, reports[1:], rows[1:], strict=False)
    ]
    print(f"reuse: one more trial {statistics.median(gaps):.3f} s (median of {len(gaps)}; longest {max(gaps):.3f} s)")


def report(arguments: argparse.Namespace) -> None:
    from ray.tune.execution.tune_controller import TuneController

    with tempfile.TemporaryDirectory() as results:
        targets = [(TuneController, "_on_training_result"), (TuneController, "_on_saving_result")]
        seen, rows = observed(space(8, 8, 128, data="little"), results, *targets)
    total = [1000 * sum(end - start for start, end in seen[name]) / len(rows) for _, name in targets]
    mine = 1000 * sum(end - start for start, end in seen["on_trial_result"]) / len(rows)
    print(
        f"report: {sum(total):.2f} ms of driver time a report (result {total[0]:.2f}, checkpoint {total[1]:.2f}; archive alone {mine:.2f}), n = {len(rows)}"
    )


def start(arguments: argparse.Namespace) -> None:
    began = time.perf_counter()
    import search.study  # noqa: F401
    from search import plan
    from search.cluster import Cluster
    from search.tracking import Tracking

    imported = time.perf_counter()
    targets = [
        (Cluster, "connect"),
        (plan, "open_space"),
        (plan, "make_dense"),
        (plan, "price_of"),
        (Tracking, "begin"),
    ]
    with tempfile.TemporaryDirectory() as results:
        first = time.perf_counter()
        seen, rows = observed(space(1, 1, 128), results, *targets)
    spans = {name: seen[name][0] for _, name in targets}
    done = seen["on_trial_result"][0][0]
    print(f"start: first epoch reported after {done - first + imported - began:.2f} s")
    labels = {
        "connect": "Ray",
        "open_space": "data (beside Ray)",
        "make_dense": "dense network",
        "price_of": "price of a step",
        "begin": "MLflow's parent run (handed to a thread)",
    }
    print(f"  {imported - began:6.2f} s imports of torch, Ray, Optuna, MLflow")
    for name, (a, b) in spans.items():
        print(f"  {b - a:6.2f} s {labels[name]}, at {a - first + imported - began:.2f} s")
    begun = seen["on_trial_start"][0][0]
    print(
        f"  {begun - spans['begin'][1]:6.2f} s the first actor: its process, imports, the task, at {spans['begin'][1] - first + imported - began:.2f} s"
    )
    print(f"  {rows[0]['time_this_iter_s']:6.2f} s the untrained network's measure and the first epoch")


PARTS = {"start": start, "report": report, "reuse": reuse, "trial": trial}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all where absent")
    parser.add_argument("--images", type=int, default=10_000, help="an epoch of the trial (10000)")
    parser.add_argument("--repeats", type=int, default=3, help="trials and bare loops, by turns (3)")
    parser.add_argument("--method", default="deadzone")
    arguments = parser.parse_args()
    os.environ["RATEFRONT_CACHE"] = tempfile.mkdtemp()
    for name in arguments.parts or PARTS:
        PARTS[name](arguments)


if __name__ == "__main__":
    main()
