"""The air between the halves of a network: codewords as points in the plane, noise, and the nearest point.

A codeword is one symbol. M-PSK: point m at the angle 2π m / M, power 1. M-QAM: the M points of the smallest square grid that lie
nearest to its middle, in boustrophedon, the outermost of power 1. Each of the two components receives noise of variance
1 / (2 · 10^(PSNR / 10)), PSNR in dB = 10 log10 (peak power / noise power); the nearest point is what arrives.
Source: Xie et al. 2023, "Robust Information Bottleneck for Task-Oriented Communication with Digital Modulation", arXiv 2209.10382;
its code calls (M - 1) / 6 the peak of a QAM grid, which is its mean power: the same PSNR is less noise there than here.

Training draws its noise from PyTorch's generator. Evaluation draws that of a picture from what is sent and where, by a hash of
whole numbers: it is the same in whatever batch the picture lies, and on another machine but for the last bit of log and cos.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LEAST_PSNR", "MODULATIONS", "MOST_PSNR", "Link", "constellation", "ring", "settled_noise"]

LEAST_PSNR = -50.0  # dB: below, nothing arrives
MOST_PSNR = 100.0  # above, nothing errs

_ADDED, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # of splitmix64, signed
_PIECE = 1 << 20  # distances that are looked at together
_BETTER = 1e-9
_SWEEPS = 20  # of a ring; more than a thousand codewords could go on for long


def _psk(count: int) -> Tensor:
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    return torch.stack([angles.cos(), angles.sin()], 1)


def _qam(count: int) -> Tensor:
    side = math.isqrt(count - 1) + 1
    rows = [[(x, y) for x in (range(side) if y % 2 == 0 else reversed(range(side)))] for y in range(side)]
    grid = torch.tensor([point for row in rows for point in row], dtype=torch.float64) - (side - 1) / 2
    kept = torch.sort(torch.argsort(grid.square().sum(1), stable=True)[:count]).values
    points = grid[kept]
    peak = points.square().sum(1).max().sqrt()
    return points / peak if peak else points


MODULATIONS: dict[str, Callable[[int], Tensor] | None] = {
    "psk": _psk,
    "qam": _qam,
    "none": None,  # a link without errors
}


def constellation(modulation: str, count: int) -> Tensor:
    """(count, 2) points, float64."""
    make = MODULATIONS[modulation]
    return torch.zeros(count, 2, dtype=torch.float64) if make is None else make(count)


@dataclass(frozen=True)
class Link:
    """``modulation``, one of ``MODULATIONS``, and ``PSNR`` in dB, from ``LEAST_PSNR`` to ``MOST_PSNR``."""

    modulation: str = "psk"
    PSNR: float = 20.0

    @property
    def deviation(self) -> float:
        """Of each component's noise."""
        return math.sqrt(0.5 / 10 ** (self.PSNR / 10))

    def deliver(self, sent: Tensor, count: int, noise: Tensor) -> Tensor:
        """Places on a constellation of ``count`` points, as they arrive; ``noise`` is standard normal, (*sent.shape, 2)."""
        if self.modulation == "none" or count < 2:
            return sent
        points = constellation(self.modulation, count).to(noise)
        received = points[sent] + self.deviation * noise
        if self.modulation == "psk":
            turn = torch.atan2(received[..., 1], received[..., 0]) / (2 * math.pi)
            return (turn * count).round().long() % count
        flat = received.reshape(-1, 2).split(max(1, _PIECE // count))
        nearest = [(part[:, None] - points).square().sum(2).argmin(1) for part in flat]
        return torch.cat(nearest).reshape(sent.shape)

    def error_rate(self, count: int, symbols: int = 200_000, seed: int = 0) -> float:
        """Share of wrong symbols, counted over so many drawn ones."""
        return _counted_errors(self, count, symbols, seed)


@lru_cache(maxsize=256)
def _counted_errors(link: Link, count: int, symbols: int, seed: int) -> float:
    source = torch.Generator().manual_seed(seed)
    sent = torch.randint(count, (symbols,), generator=source)
    arrived = link.deliver(sent, count, torch.randn(symbols, 2, generator=source))
    return float((arrived != sent).double().mean())


def settled_noise(sent: Tensor, seed: int = 0) -> Tensor:
    """Standard normal (N, P, 2) for the places (N, P) that N pictures send: a function of a picture's own row."""
    at = torch.arange(sent.shape[1], device=sent.device)
    picture = _mixed(sent * 0x9E3779B1 + (at + 1) * 0x85EBCA77).sum(1, keepdim=True)
    key = _mixed(picture + seed) + 2 * at
    uniform = [(((_mixed(key + n) >> 40) & 0xFFFFFF).float() + 0.5) / (1 << 24) for n in (0, 1)]
    radius, angle = (-2 * uniform[0].log()).sqrt(), 2 * math.pi * uniform[1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def _mixed(values: Tensor) -> Tensor:
    """splitmix64 (Steele, Lea & Flood 2014), on 64 bits that wrap around."""
    x = values + _ADDED
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * _FIRST
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * _SECOND
    return x ^ (x >> 31 & (1 << 33) - 1)


def ring(points: Tensor, start: list[int] | None = None) -> list[int]:
    """An order of (K, D) points in which neighbours, the last and the first too, are near: 2-opt from ``start``.

    Without one from the order along the first principal axis. It goes round ``_SWEEPS`` times at most.
    """
    values = points.detach().double().cpu()
    apart = torch.cdist(values, values).numpy()
    order = _along_axis(values) if start is None else list(start)
    closed = np.array([*order, order[0]])
    for _ in range(_SWEEPS):
        if not _uncrossed(closed, apart):
            break
    return [int(n) for n in closed[:-1]]


def _along_axis(values: Tensor) -> list[int]:
    centred = values - values.mean(0)
    axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return [int(n) for n in torch.argsort(centred @ axis, stable=True)]


def _uncrossed(closed: NDArray[Any], apart: NDArray[Any]) -> bool:
    """Turn round whatever stretch makes the ring shorter, its first again last; whether one did."""
    count, improved = len(closed) - 1, False
    for i in range(count - 1):
        j = i + 2
        while j < count:
            a, b, c, d = closed[i], closed[i + 1], closed[j:-1], closed[j + 1 :]
            shorter = apart[a, c] + apart[b, d] < apart[a, b] + apart[c, d] - _BETTER
            j += int(shorter.argmax())
            if not shorter.any():
                break
            closed[i + 1 : j + 1] = closed[i + 1 : j + 1][::-1].copy()
            j, improved = j + 1, True
    return improved
