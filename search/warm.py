"""A warm start: the front of another study as points to try first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from search.folder import StudyError
from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.several import METHOD, Several

__all__ = ["Found", "fitted", "read_front"]


@dataclass(frozen=True)
class Found:
    """Configurations of another study's front, the most accurate first, each once, with its method under ``method``."""

    name: str
    points: tuple[Mapping[str, Any], ...]


def read_front(folder: Path) -> Found:
    """StudyError where there is no front to read."""
    try:
        members = json.loads((folder / "front.json").read_text(encoding="utf-8"))
        about = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
        method = about["resolved"][METHOD]
        points = [{METHOD: method, **member["config"]} for member in members]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        rule = f"{folder} holds no front of a study ({reason})"
        raise StudyError(f"warm-start = {folder.name!r}: {rule}") from error
    return Found(folder.name, tuple(point for number, point in enumerate(points) if point not in points[:number]))


def fitted(space: Space, found: Found) -> tuple[Space, str]:
    """The space with points of ``found`` before its own, at most half of its trials, and a line that says what came of it."""
    points: list[dict[str, Any]] = []
    clipped: set[str] = set()
    for given in found.points:
        point = _fitted(space, given, clipped)
        if point and point not in points:
            points.append(point)
    points = _thinned(points, max(1, space.trials // 2))
    shared = sorted({name for point in points for name in point})
    line = f"warm start from {found.name}: {len(points)} of its {len(found.points)} configurations"
    line += f", knobs {', '.join(shared)}" if shared else ", no knob is shared"
    line += f"; clipped: {', '.join(sorted(clipped))}" if clipped else ""
    own = [point for point in space.file.points if point not in points]
    return replace(space, file=space.file.model_copy(update={"points": points + own})), line


def _fitted(space: Space, given: Mapping[str, Any], clipped: set[str]) -> dict[str, Any]:
    """What this space searches of another's configuration, as its searcher asks for it; empty where that is nothing."""
    word, domains = str(given[METHOD]), space.draws()
    several = isinstance(space, Several)
    if isinstance(space, Several) and word not in space.views:
        return {}
    kept: dict[str, Any] = {METHOD: word} if several else {}
    for knob, value in given.items():
        name = space.asked(word, knob) if isinstance(space, Several) else knob
        domain = domains.get(name)
        if knob == METHOD or domain is None:
            continue
        near = _nearest(domain, value)
        if near is not None:
            kept[name] = near
            clipped |= {knob} if near != value else set()
    return _existing(space, kept) if len(kept) > several else {}


def _nearest(domain: Float | Int | Categorical, value: Any) -> Any:
    """The value where the domain has it, its nearest where that is a number, else None."""
    if isinstance(domain, Categorical):
        return value if any(value == c and type(value) is type(c) for c in domain.choices) else None
    if type(value) not in (int, float):
        return None
    return domain.nearest(value)


def _existing(space: Space, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Without knobs that do not exist under the others."""
    asked: set[str] = set()

    def draw(name: str, domain: Float | Int | Categorical) -> Any:
        asked.add(name)
        return kept.get(name, domain.probes()[0])

    space.point(draw)
    return {name: value for name, value in kept.items() if name in asked}


def _thinned(points: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Evenly, the ends kept."""
    if len(points) <= most or most == 1:
        return points[:most]
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
