"""A task: network, data and loss. The seam where tests, and users, put their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.artifact import load as load_artifact
from compress.norms import is_folded, unfold
from tasks.batches import Part
from tasks.data import Data, split_source
from tasks.datasets import read_source
from tasks.errors import TaskError
from tasks.factories import nearest
from tasks.networks import NETWORKS, build_network
from tasks.starts import Start, find_start

__all__ = ["Task", "TaskSpec", "load", "open_task"]

STATISTICS = 2000  # images that folded batch norms are given statistics from


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task by name: plain data that any process can turn into a ``Task``."""

    network: str
    data: str
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    start: str = "auto"
    start_epochs: int = 20
    start_lr: float = 3e-3
    batch_size: int = 128
    eval_batch_size: int = 100
    image_size: int | None = None
    shift: int | None = None
    workers: int = 0


@dataclass(frozen=True)
class Task:
    """``spec`` with its data read and divided."""

    spec: TaskSpec
    data: Data

    def build(self) -> nn.Module:
        """A fresh dense network, drawn from PyTorch's global generator."""
        return build_network(
            self.spec.network, self.data.input_shape, len(self.data.classes), dict(self.spec.network_arguments)
        )

    @staticmethod
    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        """Mean cross entropy in nats."""
        return F.cross_entropy(outputs.float(), target)

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.data.classes)

    def card(self) -> dict[str, Any]:
        """What an artifact says of the network and the data it is for."""
        data = self.data
        return {
            "network": {"name": self.spec.network, "kwargs": dict(self.spec.network_arguments)},
            "input_shape": list(data.input_shape),
            "classes": list(data.classes),
            "normalisation": {"mean": list(data.mean), "std": list(data.std)},
            "data": data.name,
            "split": data.split,
            "fingerprint": data.fingerprint,
        }


def open_task(spec: TaskSpec, root: Path) -> tuple[Task, Start]:
    """Read the data, find the start, and divide the data as the start demands. TaskError or DataMissing."""
    source = read_source(spec.data, root, spec.image_size, spec.workers)
    start = find_start(spec.start, spec.network, not spec.network_arguments, source.name, root)
    divided = split_source(source, start.split)
    if start.kind == "artifact" and divided.fingerprint != start.fingerprint:  # trained on other images than these
        start = replace(start, split="test-halves")
        divided = split_source(source, start.split)
    divided = divided.normalised(start.mean, start.std)
    pad = divided.pad if spec.shift is None else spec.shift
    task = Task(spec, replace(divided, image_size=spec.image_size, pad=pad))
    return task, _trainable(task, start) if start.kind == "artifact" else start


def _trainable(task: Task, start: Start) -> Start:
    """A file's network with batch norms to train from: folded ones get the statistics of training images."""
    with torch.random.fork_rng(devices=[]):
        network = task.build()
    try:
        network.load_state_dict(dict(start.state or {}))
    except RuntimeError:  # of another network; whoever loads it says so
        return start
    if is_folded(network):
        count = len(task.data.train)
        some = np.arange(0, count, max(1, count // STATISTICS))  # of all classes, in whatever order they lie
        part = Part.of(task.data.train.take(some), task.data, torch.device("cpu"))
        unfold(network, (part.normalise(images) for images in part.images.split(100)))
    return replace(start, state=network.state_dict())


def load(path: str) -> nn.Module:
    """The network in an artifact, in evaluation mode, rebuilt by a factory of ours; nothing a file names is imported."""

    def build(card: Mapping[str, Any]) -> nn.Module:
        network = card.get("network")
        network = network if isinstance(network, Mapping) else {}
        name = str(network.get("name"))
        if name not in NETWORKS:
            raise TaskError(
                f"{path}: network {name!r} is not one of ours{nearest(name, NETWORKS)}; use compress.load(path, build)"
            )
        try:
            return build_network(
                name, tuple(card["input_shape"]), len(card["classes"]), dict(network.get("kwargs", {}))
            )
        except TaskError:
            raise
        except Exception as error:  # a card may hold anything
            raise TaskError(f"{path}: its card does not describe a {name} that can be built ({error})") from error

    with torch.random.fork_rng(devices=[]):
        return load_artifact(path, build)
