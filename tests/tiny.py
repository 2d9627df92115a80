"""The tiny task that the contracts run on: real handwriting, a small network with every kind of layer, seconds in all."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from tasks import Task, TaskSpec, open_task
from trainables.trainer import Recipe, Trainer

OPTIMIZER = {"name": "adamw", "base": {"lr": 2e-3}, "dz": {"lr": 2e-2}, "bit": {"lr": 2e-2}, "schedule": "cosine"}


class SmallNet(nn.Module):
    """Convolution, norm and linear layers; 8x8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.linear = nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.linear(torch.relu(self.conv2(x)).flatten(1))


def small_net() -> nn.Module:
    return SmallNet()


@lru_cache
def tiny_task() -> Task:
    spec = TaskSpec(network="tests.tiny:small_net", data="digits", start="scratch", batch_size=64)
    return open_task(spec, Path("unused"))[0]


@lru_cache
def tiny_start() -> dict[str, torch.Tensor]:
    """A dense network trained for three epochs."""
    recipe = Recipe(method="baseline", optimizer=OPTIMIZER, epochs=3, seed=1)
    trainer = Trainer(tiny_task(), recipe, None, torch.device("cpu"))
    for _ in range(3):
        trainer.train_epoch()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def tiny_trainer(method: str, epochs: int = 2, seed: int = 3, **knobs: object) -> Trainer:
    recipe = Recipe(method=method, knobs=knobs, optimizer=OPTIMIZER, epochs=epochs, seed=seed)
    return Trainer(tiny_task(), recipe, tiny_start(), torch.device("cpu"))
