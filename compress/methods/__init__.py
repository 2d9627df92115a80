"""One file a method; the file's name is the method's word."""

from __future__ import annotations

from importlib import import_module

from compress.method import Method

__all__ = ["method_class"]


def method_class(word: str) -> type[Method]:
    """The Method defined in ``compress/methods/<word>.py``; ModuleNotFoundError where there is none."""
    module = import_module(f"{__name__}.{word}")
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Method) and v.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ImportError(f"{module.__name__} must define exactly one Method, it defines {len(found)}")
    return found[0]
