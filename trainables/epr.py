"""How Ray runs the method ``epr``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Epr"]


class Epr(CompressionTrainable):
    """Epochs of ``compress.methods.epr``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "epr"
