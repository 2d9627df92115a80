"""The one evaluation loop: float32, TF32 off, inference mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tasks.batches import Part

__all__ = ["evaluate"]


def evaluate(network: nn.Module, part: Part, batch_size: int = 100) -> float:
    """Share of ``part`` that ``network`` classifies rightly, in [0, 1]."""
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=part.labels.device)
    with torch.inference_mode(), _exact():
        for images, labels in zip(part.images.split(batch_size), part.labels.split(batch_size), strict=True):
            correct += (network(part.normalise(images)).argmax(1) == labels).sum()
    return int(correct) / len(part)


@contextmanager
def _exact() -> Iterator[None]:
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held
