"""``package.module:factory``: the user's own networks and data sets, found by import, called by keyword."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

from tasks.errors import TaskError

__all__ = ["call_factory", "import_factory", "nearest"]


def import_factory(what: str, address: str) -> Callable[..., Any]:
    """The callable at ``package.module:name``; TaskError names what is missing."""
    module_name, _, name = address.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise TaskError(f"{what} = {address!r}: module {module_name!r} cannot be imported ({error})") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise TaskError(f"{what} = {address!r}: module {module_name!r} has no callable {name!r}")
    result: Callable[..., Any] = factory
    return result


def call_factory(what: str, factory: Callable[..., Any], offered: dict[str, Any], given: dict[str, Any]) -> Any:
    """Call with ``given`` and with those of ``offered`` that the signature names; TaskError for keywords it lacks."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{what}: cannot be called by keyword ({error})") from error
    parameters = signature.parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not open_ended:
            raise TaskError(f"{what}: unknown argument {key!r}{nearest(key, parameters)}")
    arguments = {k: v for k, v in offered.items() if k in parameters} | given
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise TaskError(f"{what}: {error}") from error
    return factory(**arguments)


def nearest(word: str, valid: Collection[str]) -> str:
    """``; did you mean 'x'?``, or the list of valid words where none is near."""
    close = difflib.get_close_matches(str(word), list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(sorted(valid))}"
