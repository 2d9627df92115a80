"""One Ray trainable a method, all on ``base.py``. A method's word is its module's name; no registry is edited."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection
from importlib import import_module

import compress.methods
from trainables.base import CompressionTrainable

__all__ = ["available", "load"]


def available() -> list[str]:
    """Words of all methods: the modules that stand both here and in ``compress/methods``."""
    here, there = ({m.name for m in pkgutil.iter_modules(path)} for path in (__path__, compress.methods.__path__))
    return sorted(here & there)


def load(word: str, methods: Collection[str] = ()) -> type[CompressionTrainable]:
    """The trainable in ``trainables/<word>.py``; LookupError where there is none. Of several ``methods``: the base itself."""
    if methods:
        return CompressionTrainable
    if word not in available():
        raise LookupError(f"method = {word!r}: unknown; valid: {', '.join(available())}")
    module = import_module(f"{__name__}.{word}")
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, CompressionTrainable) and v.method == word
    ]
    return found[0]
