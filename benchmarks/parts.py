"""The parts of a trial that are no convolutions: `python benchmarks/parts.py`, resnet20 with dead zones, one thread, medians in ms."""

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
import overhead

from compress.quantized import quantized_weights
from compress.quantizers import absolute_scale
from tasks import Task, TaskSpec
from tasks.batches import training_batches
from tasks.data import split_source
from trainables.base import CHECKPOINT
from trainables.trainer import Recipe, Trainer


def main() -> None:
    torch.set_num_threads(1)
    task = Task(
        TaskSpec(network="resnet20", data="noise", batch_size=128),
        split_source(overhead.noise(12_000, 1_000), "test-halves"),
    )
    made = Trainer(task, Recipe(method="deadzone", images=128), None, torch.device("cpu"))
    made.train_epoch()  # gradients and moments are there
    weights = [(q, w) for _, q, w in quantized_weights(made.model)]

    def backward() -> None:
        for quantizer, soft in weights:
            hard = quantizer(soft)
            hard.backward(torch.ones_like(hard))

    def batches() -> None:
        for _ in training_batches(made.train_part, task.data, 128, 10_000, (0, 0)):
            pass

    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "0.99 quantile of |w|, twenty layers": lambda: [absolute_scale(w, **q.scale) for q, w in weights],
            "that, and step size, shift, width": lambda: [q.grid(w) for q, w in weights],
            "hard weights": lambda: [q(w) for q, w in weights],
            "hard weights and their gradients": backward,
            "optimizer step": made.optimizer.step,
            "batches of 10,000 images, augmented": batches,
            "file written, read back and checked": made.ship,
            "checkpoint": lambda: torch.save(made.state(), Path(folder) / CHECKPOINT),
        }
        for name, work in parts.items():
            print(f"{name:<38} {median(work):8.2f} ms")
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")


def median(work, rounds: int = 9) -> float:
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
