"""How Ray runs the method ``slimming``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Slimming"]


class Slimming(CompressionTrainable):
    """Epochs of ``compress.methods.slimming``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "slimming"
