"""What must hold of a space before anything starts, each check in the words of the space's author."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from compress.method import KnobError, Method
from compress.methods import method_class
from compress.metrics import METRIC_NAMES
from compress.optimizers import OptimizerKnobs
from compress.penalties import PENALTIES, build_penalties, penalty_knobs
from search_spaces.domains import Domain
from search_spaces.names import method_words
from search_spaces.sections import SpaceFile, filled
from search_spaces.values import SpaceError, nearest
from search_spaces.wording import first_error
from tasks.datasets import check_data
from tasks.errors import TaskError
from tasks.networks import check_network

__all__ = ["check_grace", "check_names", "check_penalty", "check_plain", "in_progress", "optimizer_knobs"]


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
    offered = {*METRIC_NAMES, *method_class(file.method).objectives}
    for name in file.objectives:
        if name not in offered:
            raise SpaceError(f"{origin}: objectives.{name}: {file.method} does not report it")
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


def check_grace(origin: str, file: SpaceFile, method_of: Callable[[Mapping[str, Any]], Method | None]) -> None:
    """No rung stands where a trial may still be warming up."""
    budget = file.budget
    longest, knob = _longest_warm_up(file.search, method_of, budget.epochs)
    if budget.rungs and budget.rungs.grace < longest:
        by = f"{file.method} warms up for up to {longest} of {budget.epochs} epochs" + (f" ({knob})" if knob else "")
        raise SpaceError(f"{origin}: budget.rungs.grace = {budget.rungs.grace}: must be {longest} at least, {by}")


def _longest_warm_up(
    search: Mapping[str, Domain], method_of: Callable[[Mapping[str, Any]], Method | None], epochs: int
) -> tuple[int, str]:
    """Epochs that a trial may take until its networks compare with those of others, and the knob that makes them longest.

    ``method_of``: the method of a point, None where it cannot be built. A knob makes it longer at one end of its domain,
    whatever the others are.
    """
    point: dict[str, Any] = {name: domain.probes()[0] for name, domain in search.items()}
    longest, by = _warm_up(method_of(point), epochs), ""
    for name, domain in search.items():
        for value in domain.probes():
            found = _warm_up(method_of({**point, name: value}), epochs)
            if found > longest:
                longest, by, point = found, name, {**point, name: value}
    return longest, by


def _warm_up(method: Method | None, epochs: int) -> int:
    """Its warm-up, and where it divides the budget, the phase before the first cut."""
    if method is None:
        return 0
    phases = list(method.phases(epochs).values())
    share = getattr(method, "warm_up", 0.0)
    return max(math.ceil(share * epochs - 1e-9), phases[0] if len(phases) > 1 else 0)
