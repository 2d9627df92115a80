"""YAML as people write it: ``1e-4`` is a number, a key given twice is an error, nothing is ever constructed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from analysis.quantities import parse_size
from tasks.factories import nearest

__all__ = ["SpaceError", "merge", "nearest", "parse_duration", "parse_size", "parse_value", "parse_yaml"]

_HEAD, _TAIL = 240, 160  # characters of a message


class SpaceError(ValueError):
    """A space that cannot be searched: one line with file, key, value, rule and the nearest valid name."""

    def __init__(self, message: str) -> None:
        line = " ".join(line.strip() for line in message.splitlines())
        ends = line[:_HEAD], line[-_TAIL:]  # the key, and the rule behind however long a value
        super().__init__(line if len(line) <= _HEAD + _TAIL else " ... ".join(ends))


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's floats, and without silent duplicates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
            except TypeError as error:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key_node.start_mark
                ) from error
        return super().construct_mapping(node, deep)


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_TIME = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?|{_NUMBER}")
_FOREVER = 1e300  # seconds; and any float() can hold it
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:float"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str, where: str) -> Any:
    """Plain data; SpaceError with the line number where the text is no YAML."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpaceError(f"{where}{line}: not YAML ({getattr(error, 'problem', None) or error})") from error
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:  # of a tag such as !!int
        raise SpaceError(f"{where}: not YAML ({error})") from error


def parse_value(text: str) -> Any:
    """The value of ``--set key=value``."""
    return parse_yaml(text, f"value {text!r}")


def parse_duration(value: float | str) -> float:
    """Seconds: a number, or a text such as ``90s``, ``8m``, ``1h30m``. ValueError otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(min(value, _FOREVER))
    else:
        found = _TIME.fullmatch(str(value).strip())
        if not found or not any(found.groups()):
            raise ValueError("must be a time such as 90s, 8m or 1h30m")
        hours, minutes, rest, plain = (float(part or 0) for part in found.groups())
        seconds = 3600 * hours + 60 * minutes + rest + plain
    if not 0 < seconds < _FOREVER:
        raise ValueError("must be a time above 0, such as 90s, 8m or 1h30m")
    return seconds


def merge(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``: mappings key by key, anything else replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{k: merge(below.get(k), v) for k, v in above.items()}}
    return above


def spaces_folder() -> Path:
    """Where the YAMLs lie, installed or not."""
    return Path(__file__).parent
