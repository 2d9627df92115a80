"""Where a knob's name leads: a field of the method, of a penalty, or of an optimizer group.

``lambda_dz`` is the method's, ``group_lasso.lambda`` a penalty's, ``dz.weight_decay`` an optimizer group's, and
``codebooks.0.codebook_size`` leads into a list. The settings a name leads into are plain nested data.
"""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from compress import methods
from compress.method import Method
from compress.optimizers import GROUPS, Group
from compress.penalties import penalty_knobs

__all__ = ["Settings", "method_words", "place", "valid_names"]


@dataclass(frozen=True)
class Settings:
    """What a point is laid into: the method's knobs, the penalties, the optimizer."""

    knobs: dict[str, Any] = field(default_factory=dict)
    penalties: list[dict[str, Any]] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)

    def with_point(self, point: Mapping[str, Any]) -> Settings:
        """A copy with every name of ``point`` set; LookupError for a path that leads nowhere."""
        fresh = copy.deepcopy(self)
        for name, value in point.items():
            root, path = _root(fresh, name)
            _set(root, path, name, copy.deepcopy(value))
        return fresh

    def value(self, name: str, default: Any) -> Any:
        """What ``name`` leads to, ``default`` where nothing is set."""
        try:
            root, path = _root(copy.deepcopy(self), name)
            for step in path:
                root = _child(root, step, name)
        except LookupError:
            return default
        return root


def valid_names(method: type[Method], penalties: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every plain name that resolves, with its default (paths into lists come on top)."""
    names = method.knobs()
    for spec in penalties:
        names |= {f"{spec['name']}.{knob}": value for knob, value in penalty_knobs(spec["name"]).items()}
    return names | {f"{group}.{f.name}": f.default for group in GROUPS for f in fields(Group)}


def method_words() -> list[str]:
    """Words of the methods that are there."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__))


def place(name: str, method: type[Method], penalties: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``name`` resolves: a valid name, or a path whose first word is a knob of the method."""
    return name in valid_names(method, penalties) or ("." in name and name.partition(".")[0] in method.knobs())


def _root(settings: Settings, name: str) -> tuple[Any, list[str]]:
    head, *rest = name.split(".")
    if rest and head in GROUPS:
        return settings.optimizer.setdefault(head, {}), rest
    for spec in settings.penalties:
        if rest and spec.get("name") == head:
            return spec, rest
    return settings.knobs, [head, *rest]


def _set(root: Any, path: list[str], name: str, value: Any) -> None:
    for step in path[:-1]:
        root = _child(root, step, name)
    last = path[-1]
    if isinstance(root, list):
        if not last.isdecimal() or int(last) >= len(root):
            raise LookupError(f"{name}: {last!r} is no entry of a list of {len(root)}")
        root[int(last)] = value
    elif isinstance(root, dict):
        root[last] = value
    else:
        raise LookupError(f"{name}: {last!r} leads into a {type(root).__name__}, which has no parts")


def _child(root: Any, step: str, name: str) -> Any:
    try:
        return root[int(step)] if isinstance(root, list) else root[step]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise LookupError(f"{name}: {step!r} is not there; give it under fixed first") from error
