"""Batches of whole-tensor data sets: order, augmentation and normalisation on whole batches, without worker processes.

Every random draw comes from a generator seeded by (seed, epoch, purpose), so an epoch is the same whether or not
training was stopped before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.data import Arrays, Data, shared

__all__ = ["Part", "augment", "generator", "training_batches"]


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A generator of its own for each purpose in each epoch."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{epoch}/{purpose}".encode()))


@dataclass(frozen=True)
class Part:
    """Images and labels on a device, with their normalisation."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    image_size: int | None = None

    @classmethod
    def of(cls, arrays: Arrays, data: Data, device: torch.device) -> Part:
        """Over the arrays' own memory where the device is the CPU."""
        channels = (1, -1) + (1,) * (arrays.images.ndim - 2)
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=device).reshape(channels) for v in (data.mean, data.std)
        )
        return cls(shared(arrays.images).to(device), shared(arrays.labels).to(device), mean, std, data.image_size)

    def __len__(self) -> int:
        return len(self.labels)

    def normalise(self, images: Tensor) -> Tensor:
        """float32, uint8 brought to [0, 1] first; pictures scaled, in the memory format that convolutions are fastest in."""
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        if x.dim() == 4 and self.image_size and x.shape[2:] != (self.image_size,) * 2:
            x = F.interpolate(x, size=(self.image_size,) * 2, mode="bilinear", align_corners=False, antialias=True)
        x = (x - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def training_batches(
    part: Part, data: Data, size: int, images: int | None, draw: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, labels) of one epoch over ``images`` of the part (all where None); ``draw`` is (seed, epoch).

    A last batch of a single image is left out, since batch normalisation cannot learn from it.
    """
    device = part.images.device
    order = torch.randperm(len(part), generator=generator(*draw, "order"))[: images or len(part)]
    shake = generator(*draw, "augment")
    for chosen in order.split(size):
        if len(chosen) == 1 < min(size, len(order)):
            continue
        chosen = chosen.to(device)
        yield part.normalise(augment(part.images[chosen], data.flip, data.pad, shake)), part.labels[chosen]


def augment(images: Tensor, flip: bool, pad: int, shake: torch.Generator) -> Tensor:
    """(N, C, H, W) mirrored at random and shifted by up to ``pad`` pixels, black where nothing is left."""
    if images.dim() != 4:
        return images
    count, device = len(images), images.device
    if flip:
        mirrored = (torch.rand(count, generator=shake) < 0.5).to(device)
        images = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
    if pad:
        height, width = images.shape[2:]
        down, right = torch.randint(0, 2 * pad + 1, (2, count), generator=shake).to(device)
        windows = F.pad(images, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(count, device=device), :, down, right]
    return images
