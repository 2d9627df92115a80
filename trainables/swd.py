"""How Ray runs the method ``swd``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Swd"]


class Swd(CompressionTrainable):
    """Epochs of ``compress.methods.swd``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "swd"
