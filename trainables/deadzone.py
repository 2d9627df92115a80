"""How Ray runs the method ``deadzone``."""

from typing import ClassVar

from trainables.base import CompressionTrainable

__all__ = ["Deadzone"]


class Deadzone(CompressionTrainable):
    """Epochs of ``compress.methods.deadzone``; its knobs have their defaults there."""

    method: ClassVar[str | None] = "deadzone"
