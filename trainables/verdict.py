"""Test data, read once: the accuracy of finished networks, at the end of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from compress.artifact import decode, load_into, read
from tasks import Part, evaluate
from trainables.base import Ground
from trainables.devices import choose_device, use_threads

__all__ = ["test_accuracy"]


def test_accuracy(ground: Ground, network: str | Mapping[str, np.ndarray[Any, Any]]) -> float:
    """Of an artifact by path, or of a state dict of arrays (the dense network), on the task's test part."""
    use_threads(ground.cpus)
    device, task = choose_device(ground.device), ground.task
    with torch.random.fork_rng(devices=[]):
        built = task.build()
    if isinstance(network, str):
        load_into(built, decode(read(network)))
    else:
        built.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in network.items()})
    return evaluate(built.to(device), Part.of(task.data.test, task.data, device), task.spec.eval_batch_size)
