"""Channels by their places: taken, put among zeros, and added where they belong, in the memory format that comes in.

Where channels lie last in memory they are indexed on that axis: PyTorch's index functions on axis 1 give them back first in
memory, and each layer behind would bring them back (256 channels of 16x16, one thread: an indexed add took 3.7 times as long).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

__all__ = ["IndexedAdd", "Select"]


def _is_last(x: Tensor) -> bool:
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _turned(x: Tensor, last: bool) -> Tensor:
    return x.permute(0, 2, 3, 1) if last else x


def _on_channels(work: Callable[..., Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """``work(axis, *tensors)``, whose channels are on ``axis``."""
    last = _is_last(first)
    made = work(3 if last else 1, *(_turned(x, last) for x in (first, *others)))
    return made.permute(0, 3, 1, 2) if last else made


def _among(axis: int, x: Tensor, index: Tensor, channels: int) -> Tensor:
    shape = [channels if place == axis else size for place, size in enumerate(x.shape)]
    return x.new_zeros(shape).index_copy(axis, index, x)


@fx.wrap  # one node of a traced graph, since it asks for the memory format
def _taken(x: Tensor, index: Tensor) -> Tensor:
    return _on_channels(lambda axis, x: x.index_select(axis, index), x)


@fx.wrap
def _put(x: Tensor, index: Tensor, channels: int) -> Tensor:
    return _on_channels(lambda axis, x: _among(axis, x, index, channels), x)


@fx.wrap
def _added(whole: Tensor, part: Tensor, index: Tensor) -> Tensor:
    return _on_channels(lambda axis, a, b: a.index_add(axis, index, b), whole, part)


@fx.wrap
def _added_up(a: Tensor, b: Tensor, left: Tensor, right: Tensor, channels: int) -> Tensor:
    return _on_channels(lambda axis, a, b: _among(axis, a, left, channels).index_add_(axis, right, b), a, b)


class Select(nn.Module):
    """(N, C, ...) to the channels ``index``, or, given ``into``, to that many channels with zeros where none came from."""

    index: Tensor

    def __init__(self, index: NDArray[np.int64], into: int | None = None) -> None:
        super().__init__()
        self.register_buffer("index", torch.from_numpy(index), persistent=False)
        self.into = into

    def forward(self, x: Tensor) -> Tensor:
        return _taken(x, self.index) if self.into is None else _put(x, self.index, self.into)

    def extra_repr(self) -> str:
        return f"{len(self.index)} channels" + (f" into {self.into}" if self.into is not None else "")


class IndexedAdd(nn.Module):
    """The sum of two tensors that hold different channels of ``channels``; ``index`` None: all of them."""

    left: Tensor | None
    right: Tensor | None

    def __init__(self, left: NDArray[np.int64] | None, right: NDArray[np.int64] | None, channels: int) -> None:
        super().__init__()
        for name, index in (("left", left), ("right", right)):
            self.register_buffer(name, None if index is None else torch.from_numpy(index), persistent=False)
        self.channels = channels

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if self.left is None and self.right is None:
            return a + b
        if self.left is None:
            assert self.right is not None
            return _added(a, b, self.right)
        if self.right is None:
            return _added(b, a, self.left)
        return _added_up(a, b, self.left, self.right, self.channels)

    def extra_repr(self) -> str:
        counts = [self.channels if i is None else len(i) for i in (self.left, self.right)]
        return f"{counts[0]} + {counts[1]} -> {self.channels} channels"
