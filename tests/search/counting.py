"""A network that writes down which epochs it was trained in, for tests that kill a search and count."""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from ray import tune
from torch import nn


class Counting(nn.Module):
    """Learns as a linear layer does; ``path`` gets a line a trial and epoch, ``seconds`` is what an epoch takes at least."""

    def __init__(self, classes: int, path: str, seconds: float = 0.0) -> None:
        super().__init__()
        self.linear, self.path, self.seconds = nn.Linear(64, classes), path, seconds
        self.last: tuple[str, int] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and (trial := _trial(self)) and trial != self.last:
            self.last = trial
            line = json.dumps({"trial": trial[0], "epoch": trial[1], "start": time.time(), "pid": os.getpid()})
            with open(self.path, "a") as file:
                file.write(line + "\n")
            time.sleep(self.seconds)
        return self.linear(x.flatten(1))


def _trial(network: nn.Module) -> tuple[str, int] | None:
    """The trial and the epoch that train this network now, found on the stack."""
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, tune.Trainable) and "trainer" in found.__dict__:
            mine = any(part is network for part in found.trainer.model.modules())
            return (found.trial_id, found.trainer.epochs_done + 1) if mine else None
        frame = frame.f_back
    return None
