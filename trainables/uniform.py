"""How Ray runs the method ``uniform``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Uniform"]


class Uniform(CompressionTrainable):
    """Epochs of ``compress.methods.uniform``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "uniform"
