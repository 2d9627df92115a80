"""How Ray runs the method ``baseline``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Baseline"]


class Baseline(CompressionTrainable):
    """Epochs of ``compress.methods.baseline``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "baseline"
