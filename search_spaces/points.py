"""Points to try first: checked against the space, and named as a searcher names what it draws (``knob``, ``knob.hole``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.domains import Categorical, Float, Int, Template
from search_spaces.values import SpaceError, nearest

if TYPE_CHECKING:
    from search_spaces.space import Space

__all__ = ["checked_point", "checked_points"]


class _Unknown:
    """The value of a knob that a point leaves out: equal to none, and any template takes it."""

    def __format__(self, form: str) -> str:
        return "?"


def checked_points(space: Space) -> list[dict[str, Any]]:
    """The space's points, less what flags took out of the search; SpaceError where one cannot be tried."""
    points = [checked_point(space, number, given) for number, given in enumerate(space.file.points)]
    return [point for point in points if point]


def checked_point(space: Space, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """One of them; ``number`` says in an error where it stands."""
    where, domains = f"points.{number}", space.draws()
    if not given:
        raise SpaceError(f"{space.origin}: {where}: names no knob")
    kept = {name: value for name, value in given.items() if name in domains}
    for name, value in given.items():
        if name in kept:
            kept[name] = _inside(f"{space.origin}: {where}.{name} = {value!r}", domains[name], value)
        elif not _by_flags(space, name):
            raise SpaceError(f"{space.origin}: {where}.{name} = {value!r}: not searched{nearest(name, domains)}")
    return _existing(space, where, kept)


def _existing(space: Space, where: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What exists under the rest of the point, which must be a configuration that can be built."""
    asked: set[str] = set()

    def draw(name: str, domain: Float | Int | Categorical) -> Any:
        asked.add(name)
        return kept.get(name, _Unknown())

    point = space.point(draw)
    for name in kept:
        if name not in asked and not _by_flags(space, name):
            conditions = (space.file.search[_knob(space, name)].when or {}).items()
            rule = " and ".join(f"{other} is {wanted!r}" for other, wanted in conditions)
            said = f"{space.origin}: {where}.{name} = {kept[name]!r}"
            raise SpaceError(f"{said}: exists only where {rule}, and the point must say so")
    space.check_point({name: value for name, value in point.items() if _given(space, name, kept)}, where)
    return {name: value for name, value in kept.items() if name in asked}


def _given(space: Space, knob: str, kept: Mapping[str, Any]) -> bool:
    domain = space.file.search[knob]
    return all(f"{knob}.{hole}" in kept for hole in domain.holes) if isinstance(domain, Template) else knob in kept


def _by_flags(space: Space, name: str) -> bool:
    """Whether a flag took this knob out of the search, or one that it depends on."""
    knob = _knob(space, name)
    if any(f"{name}.".startswith(f"{key.removeprefix('optimizer.')}.") for key in space.changes):
        return True
    domain = space.file.search.get(knob)
    return any(_by_flags(space, other) for other in (domain.when if domain else None) or {})


def _knob(space: Space, name: str) -> str:
    """The knob of a draw: itself, or the template whose hole it is."""
    return name if name in space.file.search else name.rpartition(".")[0]


def _inside(prefix: str, domain: Float | Int | Categorical, value: Any) -> Any:
    """The value as the domain's type."""
    if isinstance(domain, Categorical):
        if not any(value == choice and type(value) is type(choice) for choice in domain.choices):
            raise SpaceError(f"{prefix}: must be one of its choices, {', '.join(map(repr, domain.choices))}")
        return value
    number = type(value) is int or (type(value) is float and isinstance(domain, Float))
    if not number or not domain.low <= value <= domain.high or not _on_grid(domain, value):
        kind = "whole number" if isinstance(domain, Int) else "number"
        grid = f" in steps of {domain.step}" if domain.step else ""
        raise SpaceError(f"{prefix}: must be a {kind} from {domain.low} to {domain.high}{grid}")
    return value if isinstance(domain, Int) else float(value)


def _on_grid(domain: Float | Int, value: float) -> bool:
    steps = (value - domain.low) / (domain.step or value - domain.low or 1)
    return abs(steps - round(steps)) < 1e-8
