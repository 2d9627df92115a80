"""A finished trial once more with another seed: how much of its numbers was luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trainables.base import Ground, recipe_of
from trainables.dense import fixed_dense
from trainables.devices import choose_device, use_threads
from trainables.trainer import Diverged, Trainer

__all__ = ["retrain"]


def retrain(ground: Ground, config: Mapping[str, Any], epochs: Sequence[int]) -> list[dict[str, float]]:
    """Train a trial's config up to the last of ``epochs``; the metrics of its network at each of them.

    The schedule is that of the whole trial. What comes after an epoch that diverged is left out.
    """
    use_threads(ground.cpus)
    device, start = choose_device(ground.device), ground.start
    state = None if start is None else {n: torch.from_numpy(np.array(v)) for n, v in start.items()}
    weights = ground.start if ground.dense is None else ground.dense
    dense = None if weights is None else lambda: fixed_dense(ground.task, weights, device)
    trainer = Trainer(ground.task, recipe_of(config), state, device, dense)
    found = []
    try:
        for epoch in range(max(epochs) + 1):
            metrics = trainer.epoch() if epoch else trainer.measure()
            if epoch in epochs:
                found.append({**metrics.plain(), **trainer.method.measures(trainer.model)})
    except Diverged:
        pass
    return found
