"""Annealing as functions of progress in [0, 1]: each returns a factor of the starting value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SCHEDULES", "Shape", "learning_rate_factor"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What schedules read: ``milestones`` in progress, ``gamma`` a milestone, ``power`` of poly."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    power: float = 0.9


def _cosine(progress: float, shape: Shape) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _constant(progress: float, shape: Shape) -> float:
    return 1.0


def _multistep(progress: float, shape: Shape) -> float:
    return float(shape.gamma ** sum(progress >= m for m in shape.milestones))


def _poly(progress: float, shape: Shape) -> float:
    return float((1 - progress) ** shape.power)


SCHEDULES: dict[str, Callable[[float, Shape], float]] = {
    "cosine": _cosine,  # (1 + cos πp) / 2, Loshchilov & Hutter 2017, arXiv 1608.03983
    "constant": _constant,
    "multistep": _multistep,  # gamma ^ (milestones passed)
    "poly": _poly,  # (1 - p) ^ power, Chen et al. 2018, arXiv 1606.00915
}


def learning_rate_factor(name: str, progress: float, shape: Shape) -> float:
    """Factor of the learning rate at ``progress``, clipped to [0, 1]."""
    return SCHEDULES[name](min(max(progress, 0.0), 1.0), shape)
