"""What a search costs over its training: `python benchmarks/overhead.py [trial|reuse|report|start ...]`, all where none is named.

trial   a trial (training, evaluation, file, checkpoint, report) over a bare PyTorch loop that trains the same network on as many
        images and evaluates it on the same ones as often; by turns, on random 32x32 images.
reuse   one more trial in an actor that is there already: from the last report of one trial to the first of the next, less
        the epoch itself.
report  what the driver does for a report: scheduler, searcher, callbacks, checkpoint.
start   where the seconds before the first epoch go.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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


class Call(NamedTuple):
    start: float
    end: float
    options: dict[str, Any]

    @property
    def epoch_seconds(self) -> float:
        """Of a report: what the trial itself took for it."""
        return float(self.options["result"]["time_this_iter_s"])


@contextmanager
def watched(*targets: tuple[Any, str]) -> Iterator[dict[str, list[Call]]]:
    """Every call of ``owner.name`` while the block runs, by name."""
    seen: dict[str, list[Call]] = {}
    kept = [(owner, name, getattr(owner, name)) for owner, name in targets]

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seen.setdefault(name, []).append(Call(started, time.perf_counter(), options))

        return call

    try:
        for owner, name, function in kept:
            setattr(owner, name, wrap(name, function))
        yield seen
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def observed(wanted: Any, results: str, *targets: tuple[Any, str]) -> dict[str, list[Call]]:
    """Run a study; the calls of ``targets``, and of what the archive hears."""
    from search import Settings, run
    from search.archive import Archive

    heard = [(Archive, f"on_trial_{what}") for what in ("start", "result", "complete")]
    with watched(*heard, *targets) as seen:
        run(wanted, Settings(name=f"study-{time.time_ns()}", results=Path(results), quiet=True))
    return seen


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
    """From the moment Ray's actor stands (its imports are another part) to the end of the trial, checkpoints included."""
    images, pairs = arguments.images, []
    for number in range(arguments.repeats):
        plain = bare(arguments.method, images, EPOCHS) if number % 2 else 0.0
        with tempfile.TemporaryDirectory() as results:
            seen = observed(space(1, EPOCHS, images, arguments.method), results)
        whole = seen["on_trial_complete"][-1].end - seen["on_trial_start"][0].start
        pairs.append((whole, plain or bare(arguments.method, images, EPOCHS)))
        print(f"  trial {whole:.2f} s, bare loop {pairs[-1][1]:.2f} s, ratio {whole / pairs[-1][1]:.3f}", flush=True)
    ratios = [a / b for a, b in pairs]
    print(
        f"trial: {arguments.method}, {EPOCHS} epochs of {images} images, n = {len(pairs)}: median ratio {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
    )


def reuse(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as results:
        reports = observed(space(12, 1, 128, data="little"), results)["on_trial_result"]
    gaps = [now.start - before.end - now.epoch_seconds for before, now in itertools.pairwise(reports)]
    print(f"reuse: one more trial {statistics.median(gaps):.3f} s (median of {len(gaps)}; longest {max(gaps):.3f} s)")


def report(arguments: argparse.Namespace) -> None:
    """A quiet search: what a live display draws, it draws in a thread of its own; MLflow is written by another."""
    from ray.tune.execution.tune_controller import TuneController

    targets = [(TuneController, "_on_training_result"), (TuneController, "_on_saving_result")]
    with tempfile.TemporaryDirectory() as results:
        seen = observed(space(8, 8, 128, data="little"), results, *targets)
    count = len(seen["on_trial_result"])
    result, saving, archive = (
        1000 * sum(call.end - call.start for call in seen[name]) / count
        for name in (targets[0][1], targets[1][1], "on_trial_result")
    )
    print(
        f"report: {result + saving:.2f} ms of driver time a report (result {result:.2f}, of it the archive {archive:.2f}; checkpoint {saving:.2f}), n = {count}"
    )


def start(arguments: argparse.Namespace) -> None:
    began = time.perf_counter()
    import search.study  # noqa: F401
    from search import plan
    from search.cluster import Cluster

    ready = time.perf_counter()
    named = {
        "connect": "Ray",
        "open_space": "data, beside Ray",
        "make_dense": "dense network",
        "price_of": "price of a step",
    }
    targets = [(Cluster if name == "connect" else plan, name) for name in named]
    with tempfile.TemporaryDirectory() as results:
        seen = observed(space(1, 1, 128), results, *targets)
    done, begun, priced = seen["on_trial_result"][0], seen["on_trial_start"][0], seen["price_of"][0]
    print(f"start: first epoch reported after {done.start - began:.2f} s")
    print(f"  {ready - began:6.2f} s imports of torch, Ray, Optuna")
    for name, label in named.items():
        call = seen[name][0]
        print(f"  {call.end - call.start:6.2f} s {label}, at {call.start - began:.2f} s")
    print(f"  {begun.start - priced.end:6.2f} s the first actor: its process, imports, the task")
    print(f"  {done.epoch_seconds:6.2f} s the untrained network's measure and the first epoch")


PARTS = {"start": start, "report": report, "reuse": reuse, "trial": trial}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all where absent")
    parser.add_argument("--images", type=int, default=10_000, help="an epoch of the trial (10000)")
    parser.add_argument("--repeats", type=int, default=3, help="trials and bare loops, by turns (3)")
    parser.add_argument("--method", default="deadzone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RATEFRONT_CACHE"] = cache
        for name in arguments.parts or PARTS:
            PARTS[name](arguments)


if __name__ == "__main__":
    main()
