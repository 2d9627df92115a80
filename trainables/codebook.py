"""How Ray runs the method ``codebook``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Codebook"]


class Codebook(CompressionTrainable):
    """Epochs of ``compress.methods.codebook``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "codebook"
