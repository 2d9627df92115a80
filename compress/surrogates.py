"""Straight-through surrogates: a hard value forward, the gradient of a soft one backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["round_through", "straight_through"]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hard: Tensor, soft: Tensor) -> Tensor:
        return hard.view_as(hard)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return ``hard`` exactly, with the gradient of ``soft``; both of one shape (Bengio et al. 2013, arXiv 1308.3432).

    ``soft + (hard - soft).detach()`` is not exact in float32 when ``soft`` is large; this is.
    """
    result: Tensor = _StraightThrough.apply(hard.detach(), soft)
    return result


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest integer (ties to even) with gradient 1."""
    return straight_through(torch.round(x), x)
