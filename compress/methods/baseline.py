"""The dense network, stored as it is.

Formula: hard w = w, 32 bits a weight; loss = task loss. Source: none needed; it is the reference of Wenshøj et al.
2025, arXiv 2512.12981, Table 2 ("baseline").
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from compress.method import Batches, Method
from compress.symbols import Symbols

__all__ = ["Baseline"]


@dataclass(frozen=True, kw_only=True)
class Baseline(Method):
    """No knobs but ``store``, which rounds the dense network after training."""

    def prepare(self, model: nn.Module, batches: Batches) -> None:
        return None

    def symbols(self, model: nn.Module) -> list[Symbols]:
        return []
