"""Batch norms as what they do once trained: a scale and a shift of each channel, half the numbers.

In evaluation y = γ (x - μ) / √(σ² + ε) + β = a x + b. A folded norm is stored with γ' = a √(1 + ε), β' = b, μ' = 0 and σ'² = 1, which
is the same function and still an ordinary batch norm; its zeros and ones take no bytes. Training needs real statistics:
:func:`unfold` finds them anew.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["NORMS", "folded_norms", "is_folded", "restate", "unfold"]

NORMS = ("folded", "kept")
_STILL = 1e-4  # variance over ε, below which a channel does not move: what is dropped is a hundredth of its scale
_PARTS = ("weight", "bias", "running_mean", "running_var")


def folded_norms(model: nn.Module, coded: Container[str] = ()) -> dict[str, Tensor]:
    """State of all batch norms as they are stored folded, float32 on the CPU, by name.

    Norms that miss a part are left out, and those of which a part is in ``coded``. A channel whose input never changes
    (a dead filter's) is its shift alone: its slope would be some hundred times the others'.
    """
    found: dict[str, Tensor] = {}
    for name, norm in _norms(model):
        if any(f"{name}.{part}".lstrip(".") in coded for part in _PARTS):
            continue
        scale, shift, mean, variance = (getattr(norm, part).detach().double().cpu() for part in _PARTS)
        slope = torch.where(variance < _STILL * norm.eps, 0.0, scale / (variance + norm.eps).sqrt())
        values = [slope * (1 + norm.eps) ** 0.5, shift - slope * mean, torch.zeros_like(mean), torch.ones_like(mean)]
        found |= {f"{name}.{part}".lstrip("."): v.float() for part, v in zip(_PARTS, values, strict=True)}
    return found


def is_folded(network: nn.Module) -> bool:
    """Whether there are batch norms, trained ones, and none has statistics."""
    norms = [norm for _, norm in _norms(network)]
    fresh = all(bool((n.weight == 1).all() and not n.bias.any()) for n in norms)
    return not fresh and not any(_has_statistics(n) for n in norms)


def _has_statistics(norm: Any) -> bool:
    """Of channels that have left, and came back as zeros, nothing is to be seen."""
    there = norm.weight != 0
    return bool(norm.running_mean[there].any() or (norm.running_var[there] != 1).any())


@torch.no_grad()
def unfold(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give folded norms the statistics of their inputs over ``batches``; the network's function stays what it is.

    Each channel's scale and shift are changed so that a x + b is the same: γ = γ' √(σ² + ε) / √(1 + ε), β = b + a μ.
    """
    norms = list({norm for _, norm in _norms(network)})
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}  # of x, x², 1

    def listen(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1).double().cpu()
        sums[norm] += torch.stack([x.sum(1), x.square().sum(1), torch.full_like(x[:, 0], x.shape[1])])

    network.eval()
    with ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(listen).remove)
        for batch in batches:
            network(batch)
    for norm, (total, squares, count) in sums.items():
        if count.any():  # else no picture came by
            _settle(norm, total / count, squares / count)


@torch.no_grad()
def restate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Statistics of all batch norms anew: the mean over ``batches`` of what the weights give that are shipped."""
    norms = list({norm for _, norm in _norms(model)})
    held = [(norm.momentum, norm.training) for norm in norms]
    was_training = model.training
    model.eval()  # all but the norms: what draws, averages or drops does not
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    for batch in batches:
        model(batch)
    model.train(was_training)
    for norm, (momentum, training) in zip(norms, held, strict=True):
        norm.momentum, norm.training = momentum, training


def _settle(norm: Any, mean: Tensor, square: Tensor) -> None:
    variance = (square - mean.square()).clamp_min(0)
    slope = norm.weight.double().cpu() / (1 + norm.eps) ** 0.5
    values = [slope * (variance + norm.eps).sqrt(), norm.bias.double().cpu() + slope * mean, mean, variance]
    for part, value in zip(_PARTS, values, strict=True):
        getattr(norm, part).copy_(value)


def _norms(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _BatchNorm) and module.affine and module.running_mean is not None:
            yield name, module
