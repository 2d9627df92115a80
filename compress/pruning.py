"""What can be pruned, in which order, and how much of it: sites, a ranking of their entries, a prefix of the ranking.

A site is a batch norm (its entries are channels) or a layer (its entries are weights). All masks are cut from one ranking,
by a whole number of entries: equals are told apart by their place, never by a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["CRITERIA", "Piece", "Pruning", "Site", "least_count", "mask_of", "ranking", "share_of"]

CRITERIA = ("global", "local", "safe", "safe_local")
_ROUNDING = 1e-9  # 0.29 of 100 are 29


@dataclass(frozen=True)
class Piece:
    """A tensor by its name in the model; ``axis`` is where a site's entries lie, None: every number is one."""

    name: str
    axis: int | None

    def fit(self, entries: Tensor, like: Tensor) -> Tensor:
        """One value an entry, shaped so that it broadcasts over the tensor ``like``."""
        if self.axis is None:
            return entries.reshape(like.shape)
        return entries.reshape([-1 if axis == self.axis else 1 for axis in range(like.dim())])


@dataclass(frozen=True)
class Site:
    """``size`` entries that go one by one. ``layer``: the filters in front of a norm. ``spared``: the best of them stays."""

    name: str
    size: int
    pieces: tuple[Piece, ...]
    layer: str | None = None
    spared: bool = True


class Pruning(nn.Module):
    """The state of pruning, inserted in the model: which entries are ``gone``, ``count`` of them, in which ``phase``.

    Its sites follow from network and knobs, so that they are in no checkpoint.
    """

    gone: Tensor
    count: Tensor
    phase: Tensor
    input_shape: Tensor

    def __init__(self, sites: Sequence[Site], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.sites = tuple(sites)
        self.register_buffer("gone", torch.zeros(sum(self.sizes), dtype=torch.bool))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("phase", torch.zeros((), dtype=torch.int64))
        self.register_buffer("input_shape", torch.tensor(list(input_shape), dtype=torch.int64))

    @property
    def sizes(self) -> list[int]:
        """Entries of each site."""
        return [site.size for site in self.sites]


def ranking(scores: Sequence[Tensor], spared: Sequence[bool], criterion: str) -> Tensor:
    """Places in the joined entries of all sites, least important first; the best of a spared site is not among them.

    ``local`` and ``safe_local`` rank by the share of a site's own entries that are no better, so that all sites lose alike;
    the others rank by the scores themselves. Of equals the first goes first.
    """
    keys = []
    for values, spare in zip(scores, spared, strict=True):
        order = torch.argsort(values, stable=True)
        key = values.double()
        if "local" in criterion:
            key = torch.empty_like(key)
            key[order] = torch.arange(1, len(order) + 1, dtype=key.dtype, device=key.device) / len(order)
        if spare:
            key = key.index_fill(0, order[-1:], math.inf)
        keys.append(key)
    joined = torch.cat(keys)
    return torch.argsort(joined, stable=True)[: len(joined) - sum(spared)]


def mask_of(order: Tensor, count: int | Tensor, entries: int) -> Tensor:
    """(entries,) true for the first ``count`` of a ranking."""
    gone = torch.zeros(entries, dtype=torch.bool, device=order.device)
    gone[order] = torch.arange(len(order), device=order.device) < count
    return gone


def share_of(rate: float, sizes: Sequence[int], criterion: str) -> int:
    """Entries that a rate stands for: of all together, or (the local criteria) of every site, rounded down."""
    parts = sizes if "local" in criterion else [sum(sizes)]
    return sum(math.floor(rate * part + _ROUNDING) for part in parts)


def least_count(limit: int, enough: Callable[[int], bool]) -> int:
    """The least number from 0 to ``limit`` that is enough, where all above it are too; ``limit`` where none is."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
