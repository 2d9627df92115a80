"""Straight-through surrogates: a hard value forward, the gradient of a soft one backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["deadzone_through", "round_through", "straight_through"]


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


class _DeadzoneThrough(torch.autograd.Function):
    """One node where autograd would keep twenty; its gradients are the closed forms of the same straight-through graph."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, s: Tensor, delta: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
        sign = w.sign()
        x = (w.abs() - delta).relu_().mul_(sign).div_(s)
        q = torch.clamp(x.round(), -bound, bound)
        kept = q.sign()
        hard = (q * s).add_(kept * delta)  # as the decoder does it, bit for bit
        ctx.save_for_backward(torch.sub(q, x, out=x), kept.sub_(sign), sign)
        ctx.scale_shape = s.shape
        ctx.mark_non_differentiable(q)
        return hard, q

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        rounding, pruned, sign = ctx.saved_tensors
        g = gradients[0]
        by_s = (g * rounding).sum_to_size(ctx.scale_shape)
        by_delta = (g * pruned).sum_to_size(ctx.scale_shape)
        return g * sign.abs(), by_s, by_delta, None


def deadzone_through(w: Tensor, s: Tensor, delta: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """(hard, q) of soft weights ``w``: u = sign(w) relu(|w| - δ), q = clip(round(u / s), ±bound), hard = s q + δ sign(q).

    ``s``, ``delta`` and ``bound`` have shape () or (C, 1, ...). Gradients (round, clip and relu passed straight through,
    sign constant): dhard/dw = 1 (0 at w = 0), dhard/ds = q - u/s, dhard/dδ = sign(q) - sign(w); none to q and ``bound``.
    """
    hard, q = _DeadzoneThrough.apply(w, s, delta, bound)
    return hard, q
