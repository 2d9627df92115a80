"""Annealing as functions of progress in [0, 1]: each returns a factor of the starting value.

A *beta* is written as ``ConstantBeta(b)`` or ``LinearBeta(b0, b1)``, or with another shape of ``SCHEDULES`` as ``CosineBeta(b0, b1)``
and so on: from b0 at progress 0 to b1 at progress 1 (multistep: what its milestones leave of the way). It is read by a
pattern, never evaluated; a bare number is constant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SCHEDULES", "Beta", "Shape", "learning_rate_factor", "parse_beta"]


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


@dataclass(frozen=True)
class Beta:
    """From ``start`` to ``end`` in the ``shape`` of a schedule."""

    start: float
    end: float
    shape: str = "constant"

    def __call__(self, progress: float) -> float:
        """Its value at ``progress``."""
        if self.shape == "linear":
            return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)
        return self.end + (self.start - self.end) * learning_rate_factor(self.shape, progress, Shape())


_BETA_SHAPES = ("constant", "linear", *(name for name in SCHEDULES if name != "constant"))
_BETA = re.compile(r"([A-Za-z]+)Beta\(([^(),]+)(?:,([^(),]+))?\)")


def parse_beta(value: float | str) -> Beta:
    """The schedule in a number or a text; ValueError, in words, for anything else."""
    if isinstance(value, str) and not _is_number(value):
        return _parsed(value)
    if isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError("must be a finite number from 0")
    return Beta(float(value), float(value))


def _parsed(text: str) -> Beta:
    words = [f"{name.capitalize()}Beta" for name in _BETA_SHAPES]
    found = _BETA.fullmatch(text.strip())
    shape = found[1].lower() if found else ""
    if found is None or f"{found[1]}Beta" not in words or (found[3] is None) != (shape == "constant"):
        others = ", ".join(f"{word}(b0, b1)" for word in words[1:])
        raise ValueError(f"must be a number, ConstantBeta(b), or one of {others}")
    numbers = [part for part in found.groups()[1:] if part is not None]
    if not all(_is_number(part) and 0 <= float(part) < math.inf for part in numbers):
        raise ValueError("must have finite numbers from 0 in its brackets")
    return Beta(float(numbers[0]), float(numbers[-1]), shape)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
