"""One mistake, one line: pydantic's errors in the words of a space's author."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ValidationError

from compress.optimizers import GROUPS, Group, OptimizerKnobs
from search_spaces.domains import Categorical, Float, Int, Template
from search_spaces.limits import Constraints
from search_spaces.sections import Budget, Resources, Rungs, SpaceFile, TaskSection
from search_spaces.values import nearest

__all__ = ["first_error"]

_TAGS: dict[str, type[BaseModel]] = {"float": Float, "int": Int, "categorical": Categorical, "template": Template}
_SECTIONS: dict[str, type[BaseModel]] = {
    "task": TaskSection,
    "budget": Budget,
    "rungs": Rungs,
    "resources": Resources,
    "constraints": Constraints,
}
_BRANCHES = {*_TAGS, "bool", "str", "none"}
_KINDS = ("function-", "constrained-", "nullable", "list[", "dict[")
_WORDS = {
    "should be": "must be",
    "a valid integer": "a whole number",
    "a valid array": "a list",
    "a valid dictionary": "a mapping",
    "an object": "a mapping",
    "a valid ": "a ",
}
_SHOWN = 80  # characters of a value


def first_error(
    prefix: str, error: ValidationError, valid: Mapping[tuple[str, ...], Sequence[str]] | None = None
) -> str:
    """``prefix`` key = value: rule. ``valid`` gives the names known at a place, beyond those of the sections."""
    found = error.errors(include_url=False)
    worst = next((e for e in found if e["type"] in ("extra_forbidden", "unexpected_keyword_argument")), found[0])
    path = _path(worst)
    key, value = ".".join(path), _shown(worst["input"])
    cause = worst.get("ctx", {}).get("error")
    if worst["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{prefix}{key} = {value}: unknown key{nearest(path[-1], _names_at(worst['loc'], prefix, valid or {}))}"
    if worst["type"] == "missing":
        return f"{prefix}{key}: missing, must be given"
    if cause is not None:
        text = str(cause)
        named = text.partition(" = ")[0].replace("_", "").replace(".", "").isalnum() and " = " in text
        return (
            f"{prefix.removesuffix('optimizer.') if text.startswith('optimizer.') else prefix}{text}"
            if named
            else f"{prefix}{key} = {value}: {text}"
        )
    rules = dict.fromkeys(_rule(e["msg"]) for e in found if _path(e) == path)
    return f"{prefix}{key} = {value}: {' or '.join(rules)}".replace(" or must be ", " or ")


def _path(error: Mapping[str, Any]) -> list[str]:
    """Keys and numbers of entries, without the branches of a union, unless somebody's key is called like one."""
    every = [str(p) for p in error["loc"]]
    return [p for p in every if p not in _BRANCHES and not p.startswith(_KINDS)] or every


def _rule(message: str) -> str:
    rule = message.removeprefix("Input ").removeprefix("Value error, ").partition(" or instance of ")[0]
    for theirs, ours in _WORDS.items():
        rule = rule.replace(theirs, ours)
    return rule


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _names_at(
    place: Sequence[int | str], prefix: str, valid: Mapping[tuple[str, ...], Sequence[str]]
) -> Collection[str]:
    """Names that are valid beside the last part of ``place``."""
    parents = tuple(str(p) for p in place[:-1])
    if parents in valid:
        return valid[parents]
    if prefix.endswith("optimizer."):
        return [f.name for f in fields(Group if parents and parents[-1] in GROUPS else OptimizerKnobs)]
    tag = next((p for p in reversed(parents) if p in _TAGS), None)
    model = _TAGS[tag] if tag else _SECTIONS.get(parents[-1] if parents else "", SpaceFile)
    return list(model.model_fields)
