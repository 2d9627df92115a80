"""What must hold of a space before anything starts, each check in the words of the space's author."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from compress.method import KnobError
from compress.optimizers import OptimizerKnobs
from compress.penalties import PENALTIES, build_penalties, penalty_knobs
from search_spaces.names import method_words
from search_spaces.sections import SpaceFile, filled
from search_spaces.values import SpaceError, nearest
from search_spaces.wording import first_error
from tasks.datasets import check_data
from tasks.errors import TaskError
from tasks.networks import check_network

__all__ = ["check_names", "check_penalty", "check_plain", "in_progress", "optimizer_knobs"]


def check_plain(origin: str, data: Any) -> None:
    """Dates, sets and mappings that hold themselves are YAML, but no plain data."""
    try:
        json.dumps(data)
    except (RecursionError, TypeError, ValueError) as error:
        raise SpaceError(f"{origin}: holds more than numbers, texts, lists and mappings ({error})") from error


def check_names(origin: str, file: SpaceFile) -> None:
    """Method, network, data and penalties are there."""
    if file.method not in method_words():
        raise SpaceError(f"{origin}: method = {file.method!r}: no such method{nearest(file.method, method_words())}")
    try:
        check_network(file.task.network_name)
        check_data(file.task.data)
    except TaskError as error:
        raise SpaceError(f"{origin}: task.{error}") from error
    for number, spec in enumerate(file.penalties):
        name = str(spec.get("name"))
        if name not in PENALTIES:
            raise SpaceError(f"{origin}: penalties.{number}.name = {name!r}: no such penalty{nearest(name, PENALTIES)}")


def optimizer_knobs(origin: str, plain: Mapping[str, Any], epochs: int) -> OptimizerKnobs:
    """The optimizer's knobs; whole-number milestones are epochs of the file's own budget."""
    try:
        return filled(OptimizerKnobs, in_progress(plain, epochs))
    except ValidationError as error:
        raise SpaceError(first_error(f"{origin}: optimizer.", error)) from error


def in_progress(optimizer: Any, epochs: int) -> Any:
    """The optimizer section with its whole-number milestones as shares of ``epochs``."""
    if not isinstance(optimizer, Mapping) or not isinstance(optimizer.get("milestones"), (list, tuple)):
        return optimizer
    milestones = [m / epochs if type(m) is int and 1 <= m <= epochs else m for m in optimizer["milestones"]]
    return {**optimizer, "milestones": milestones}


def check_penalty(prefix: str, spec: Mapping[str, Any]) -> None:
    """``lambda`` is a word of Python's, so the field has an underscore more."""
    name = spec["name"]
    knobs = {"lambda_" if k == "lambda" else k: v for k, v in spec.items() if k != "name"}
    try:
        filled(PENALTIES[name], knobs)
        build_penalties([spec])
    except ValidationError as error:
        text = first_error(prefix, error, {(): list(penalty_knobs(name))})
        raise SpaceError(text.replace("lambda_ =", "lambda =")) from error
    except KnobError as error:
        raise SpaceError(f"{prefix}{error}") from error
