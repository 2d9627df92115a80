"""Whole data sets as arrays: what a reader returns (``Source``), what a task trains and measures on (``Data``).

Splits. ``holdout``: validation is held out of the training images, the test part is the official one; for networks
that this study trains itself. ``test-halves``: validation and test are the two halves of the official test part; for
starts whose weights may have seen every training image. Both are stratified by class and fixed: the draw is numpy's
legacy Mersenne Twister with seed 0, whose stream never changes.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.errors import TaskError

__all__ = ["Arrays", "Data", "Source", "shared", "split_source"]

Array = NDArray[Any]
SPLITS = ("holdout", "test-halves")


@dataclass(frozen=True)
class Arrays:
    """``images`` (N, C, H, W) uint8, or float32 of any shape (N, ...); ``labels`` (N,) int64."""

    images: Array
    labels: Array

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or len(self.labels) == 0:
            raise TaskError(
                f"data: {len(self.images)} images and {len(self.labels)} labels; expected equal counts above 0"
            )
        if self.images.dtype not in (np.uint8, np.float32):
            raise TaskError(f"data: images of type {self.images.dtype}; expected uint8 or float32")
        if self.labels.dtype != np.int64:
            raise TaskError(f"data: labels of type {self.labels.dtype}; expected int64")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Array) -> Arrays:
        """The rows of ``index``, copied."""
        return Arrays(np.ascontiguousarray(self.images[index]), np.ascontiguousarray(self.labels[index]))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as published. ``mean`` and ``std`` a channel, of images scaled to [0, 1] where they are uint8.

    ``flip`` and ``pad`` are the augmentation: mirrored left to right at random, shifted by up to ``pad`` pixels.
    ``holdout`` training images are held out for validation by the split of that name.
    """

    name: str
    train: Arrays
    test: Arrays
    classes: Sequence[str]
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    flip: bool = False
    pad: int = 0
    holdout: int = 5000


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set divided: no image of ``train`` is in ``validation`` or ``test``. ``split`` names how."""

    name: str
    split: str
    train: Arrays
    validation: Arrays
    test: Arrays
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    flip: bool
    pad: int
    image_size: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: pictures (C, H, W) are scaled to ``image_size``, a batch at a time, where that is given."""
        shape = tuple(int(n) for n in self.train.images.shape[1:])
        return (shape[0], self.image_size, self.image_size) if self.image_size and len(shape) == 3 else shape

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the training images, their labels and the split."""
        sums = [zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data) for a in (self.train.images, self.train.labels)]
        return f"{self.name}-{self.split}-{sums[0]:08x}{sums[1]:08x}"

    def normalised(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> Data:
        """The same data with the normalisation that belongs to a start; unchanged where there is none."""
        return self if mean is None or std is None else replace(self, mean=tuple(mean), std=tuple(std))


def shared(array: Array) -> Tensor:
    """A tensor over the array's memory, which may be shared between processes and read-only; it is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def split_source(source: Source, policy: str) -> Data:
    """Divide a source by ``holdout`` or ``test-halves``."""
    train, test = source.train, source.test
    if policy == "holdout":
        picked = _stratified(train.labels, source.holdout)
        rest = np.setdiff1d(np.arange(len(train)), picked)
        train, validation = train.take(rest), train.take(picked)
        name = f"holdout-{source.holdout}"
    else:
        picked = _stratified(test.labels, len(test) // 2)
        rest = np.setdiff1d(np.arange(len(test)), picked)
        validation, test = test.take(picked), test.take(rest)
        name = f"test-halves-{len(picked)}"
    return Data(
        name=source.name,
        split=name,
        train=train,
        validation=validation,
        test=test,
        classes=tuple(source.classes),
        mean=tuple(source.mean),
        std=tuple(source.std),
        flip=source.flip,
        pad=source.pad,
    )


def _stratified(labels: Array, count: int) -> Array:
    """Sorted indices of ``count`` rows, every class in proportion, largest remainders first."""
    if not 0 < count < len(labels):
        raise TaskError(f"data: {count} images cannot be held out of {len(labels)}")
    random = np.random.RandomState(0)
    kinds, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / len(labels)
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    picked = [random.permutation(np.flatnonzero(labels == kind))[:n] for kind, n in zip(kinds, quota, strict=True)]
    return np.sort(np.concatenate(picked))
