"""A method's training step over a float step: `python benchmarks/step.py [--method deadzone] [--rounds 40] [--parts]`.

Two trainers, of ``baseline`` and of the method, take steps by turns on the same batch of random 32x32 images, so that what
else the machine does falls on both alike; the ratio is that of the median steps. ``--parts`` profiles the method's step.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from search_spaces.values import parse_value
from tasks import Task, TaskSpec
from tasks.data import Arrays, Source, split_source
from trainables import available
from trainables.trainer import Recipe, Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each kind (40)")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--method", default="deadzone", choices=[m for m in available() if m != "baseline"])
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", help="a knob of the method")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--parts", action="store_true", help="profile the method's step")
    arguments = parser.parse_args()
    knobs = {key: parse_value(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    print(
        f"{arguments.network}, {arguments.method} {knobs or ''}, {arguments.optimizer}, n = {arguments.rounds} steps of each"
    )
    print(f"{'batch':>5} {'threads':>7} {'float ms':>9} {'method ms':>9} {'added ms':>9} {'ratio':>7}")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for batch in arguments.batch:
            pair = [trainer(arguments, m, k, batch) for m, k in (("baseline", {}), (arguments.method, knobs))]
            plain, method = timed(pair, batch, arguments.rounds)
            print(
                f"{batch:5} {threads:7} {plain:9.2f} {method:9.2f} {method - plain:9.2f} {method / plain:7.3f}",
                flush=True,
            )
            if arguments.parts:
                profile(pair[1], batch)
    print(
        f"machine: {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )


def trainer(arguments: argparse.Namespace, method: str, knobs: dict[str, object], batch: int) -> Trainer:
    draw = np.random.default_rng(0)
    arrays = Arrays(
        draw.integers(0, 256, (max(600, 2 * batch), 3, 32, 32), dtype=np.uint8), np.arange(max(600, 2 * batch)) % 10
    )
    source = Source(name="noise", train=arrays, test=arrays, classes=[str(n) for n in range(10)], holdout=100)
    task = Task(TaskSpec(network=arguments.network, data="noise", batch_size=batch), split_source(source, "holdout"))
    recipe = Recipe(method=method, knobs=knobs, optimizer={"name": arguments.optimizer, "base": {"lr": 1e-3}})
    made = Trainer(task, recipe, None, torch.device("cpu"))
    made.model.train()
    return made


def timed(pair: Sequence[Trainer], batch: int, rounds: int) -> list[float]:
    """Median milliseconds of a step of each."""
    inputs, labels = pictures(batch), torch.arange(batch) % 10
    times: list[list[float]] = [[] for _ in pair]
    for number in range(rounds + 3):
        order = range(len(pair)) if number % 2 else reversed(range(len(pair)))
        for which in order:
            started = time.perf_counter()
            pair[which].step(inputs, labels, 0.0)
            if number >= 3:
                times[which].append(1000 * (time.perf_counter() - started))
    return [statistics.median(row) for row in times]


def pictures(batch: int) -> torch.Tensor:
    """In the memory format that training uses."""
    return torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)


def profile(made: Trainer, batch: int) -> None:
    """Where the method's step spends its time, by operation."""
    inputs, labels = pictures(batch), torch.arange(batch) % 10
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(5):
            made.step(inputs, labels, 0.0)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50))


def processor() -> str:
    """As the machine names it."""
    listed = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if line.startswith("model name")]
        if listed.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
