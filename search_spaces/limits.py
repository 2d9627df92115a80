"""Constraints: what a network must keep to be of use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from search_spaces.domains import Strict
from search_spaces.values import parse_size

__all__ = ["Constraints"]


def _bytes(value: Any) -> Any:
    return None if value is None else parse_size(value)


class Constraints(Strict):
    """``max_size`` of the file (40000, 40kB, 1.5MB), ``min_accuracy`` on validation data, ``max_gops`` of one inference."""

    max_size: Annotated[float | None, BeforeValidator(_bytes)] = None
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    max_gops: float | None = Field(default=None, gt=0)

    def excess(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """By constraint that is set: above 0 where it is broken, as a share of the limit (of accuracy: its difference)."""
        found = {}
        if self.max_size is not None:
            found["max_size"] = float(metrics["size"]) / self.max_size - 1
        if self.min_accuracy is not None:
            found["min_accuracy"] = self.min_accuracy - float(metrics["accuracy"])
        if self.max_gops is not None:
            found["max_gops"] = float(metrics["gops"]) / self.max_gops - 1
        return found

    def broken(self, metrics: Mapping[str, Any]) -> list[str]:
        """Those that a network breaks."""
        return [name for name, excess in self.excess(metrics).items() if excess > 0]
