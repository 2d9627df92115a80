"""Networks really trained, for `codec.py`: `python benchmarks/trained.py FOLDER` writes one file each, some 25 minutes on two cores.

LeNet-300-100 on MNIST from a dense network of 8 epochs, resnet20 on CIFAR-10 from the published weights, each with fixed dead zones that make
the wanted share of zeros of the weights it begins with; and the published resnet20 at eight bits. A file that is there already is kept.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from compress.artifact import save
from tasks import Task, TaskSpec, open_task
from tasks.downloads import data_root
from trainables.trainer import Recipe, Trainer

LENET = {"network": "mlp", "data": "mnist", "network_arguments": {"hidden": [300, 100]}, "start": "train"}
RESNET = {"network": "resnet20", "data": "cifar10"}
# name: task, share of zeros, bits, learning rate, epochs, images an epoch
NETWORKS = {
    "lenet300-90": (LENET, 0.9, 4, 2e-3, 20, None),
    "lenet300-97": (LENET, 0.97, 3, 2e-3, 20, None),
    "resnet20-50": (RESNET, 0.5, 4, 1e-3, 3, 10_000),
    "resnet20-80": (RESNET, 0.8, 4, 1e-3, 3, 10_000),
    "resnet20-95": (RESNET, 0.95, 3, 1e-3, 3, 10_000),
}
EIGHT_BITS = "resnet20-8bits"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="some of them; all where absent")
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or [*NETWORKS, EIGHT_BITS]:
        target = arguments.folder / f"{name}.rf"
        if not target.exists():
            save(target, (eight_bits if name == EIGHT_BITS else train)(name, arguments.data_root))


def train(name: str, root: Path | None) -> bytes:
    spec, zeros, bits, rate, epochs, images = NETWORKS[name]
    task, start = open_task(TaskSpec(**spec), data_root(root))
    state = start.state or dense(task)
    knobs = {"fixed_bit_val": bits, "learnable_bit": False, "learnable_deadzone": False}

    def trainer(logit: float) -> Trainer:
        optimizer = {"name": "adamw", "base": {"lr": rate, "weight_decay": 1e-2}, "schedule": "cosine"}
        recipe = Recipe(
            method="deadzone",
            knobs={**knobs, "init_deadzone_logit": logit},
            optimizer=optimizer,
            epochs=epochs,
            images=images,
        )
        return Trainer(task, recipe, state, torch.device("cpu"))

    low, high = 0.01, 4.0
    for _ in range(12):  # a larger logit is a narrower dead zone
        middle = (low + high) / 2
        tensors = [t for t in trainer(middle).ship().artifact.tensors if t.decoder == "deadzone"]
        share = 1 - sum(np.count_nonzero(t.index) for t in tensors) / sum(t.index.size for t in tensors)
        low, high = (middle, high) if share > zeros else (low, middle)
    made = trainer((low + high) / 2)
    for _ in range(epochs):
        metrics = made.epoch()
        print(
            f"{name}: epoch {metrics.epoch}, {metrics.sparsity:.1%} zeros, {metrics.accuracy:.2%}, {metrics.size:,} bytes",
            flush=True,
        )
    return made.shipped.data


def eight_bits(name: str, root: Path | None) -> bytes:
    task, start = open_task(TaskSpec(**RESNET), data_root(root))
    shipped = Trainer(task, Recipe(method="baseline", knobs={"store": "int8"}), start.state, torch.device("cpu")).ship()
    print(f"{name}: {len(shipped.data):,} bytes", flush=True)
    return shipped.data


def dense(task: Task) -> dict[str, torch.Tensor]:
    """Where nothing is published."""
    optimizer = {"name": "adamw", "base": {"lr": 2e-3, "weight_decay": 1e-1}, "schedule": "cosine"}
    made = Trainer(task, Recipe(method="baseline", optimizer=optimizer, epochs=8), None, torch.device("cpu"))
    for _ in range(8):
        metrics = made.epoch()
    print(f"dense: {metrics.accuracy:.2%}", flush=True)
    return dict(made.model.state_dict())


if __name__ == "__main__":
    main()
