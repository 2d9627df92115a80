"""From a command line to a study's folder, a new one or that of a study that goes on with the flags it began with; and to changes of its space."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from search.folder import StudyError, StudyFolder, dated_name, unfinished

__all__ = ["changes", "take"]

_OF_THIS_RUN = ("quiet", "json", "resume", "extend", "retry_errored", "no_report", "name", "results")


def take(
    arguments: argparse.Namespace, words: list[str], parser: argparse.ArgumentParser
) -> tuple[StudyFolder, argparse.Namespace]:
    """The folder, and the flags that count."""
    name, going = arguments.resume, bool(arguments.resume)
    if arguments.extend is not None and (arguments.extend < 1 or not going):
        raise StudyError(f"extend = {arguments.extend}: must be a whole number from 1, with --resume NAME")
    if arguments.retry_errored and not going:
        raise StudyError("retry_errored: goes with --resume NAME")
    if name == "auto":
        name = arguments.name or (unfinished(arguments.results, arguments.space) if arguments.space else None)
        going = bool(name) and (arguments.results / name).exists()
        if not (going or arguments.space):
            raise StudyError("resume = 'auto': --space says what to begin where nothing is unfinished")
    name = name or arguments.name or dated_name(arguments.space)
    command, space = shlex.join(["tuner.py", *words]), Path(arguments.space or "").stem
    folder = StudyFolder(arguments.results, name, command, going, space)
    return folder, _as_before(folder, arguments, words, parser) if going else arguments


def _as_before(
    folder: StudyFolder, arguments: argparse.Namespace, words: list[str], parser: argparse.ArgumentParser
) -> argparse.Namespace:
    """The flags that the study began with, and over them those given now."""
    before = parser.parse_args(shlex.split(str(folder.previous.get("command", "")))[1:])
    for name in _OF_THIS_RUN:
        setattr(before, name, parser.get_default(name))
    merged = parser.parse_args(words, before)
    if arguments.extend:
        budget = folder.previous.get("resolved", {}).get("budget", {})
        merged.trials = budget.get("trials", merged.trials or 0) + arguments.extend
    return merged


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Flags as dotted keys of the space; the flag wins over the YAML. SpaceError for one that is no key."""
    from search_spaces import SpaceError
    from search_spaces.values import parse_value

    flags = {
        "budget.trials": arguments.trials,
        "budget.epochs": arguments.epochs,
        "budget.wall_time": arguments.time_budget,
        "budget.patience": arguments.patience,
        "task.data": arguments.data,
        "resources.device": arguments.device,
        "resources.concurrent": arguments.max_concurrent,
        "resources.cpu": arguments.cpus_per_trial,
        "resources.gpu": arguments.gpus_per_trial,
        "seed": arguments.seed,
        "constraints.max_size": arguments.max_size,
        "constraints.min_accuracy": arguments.min_accuracy,
        "constraints.max_gops": arguments.max_gops,
        "sampler": arguments.sampler,
        "keep": arguments.keep,
    }
    changes = {key: value for key, value in flags.items() if value is not None}
    for text in arguments.set:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpaceError(f"--set {text!r}: must be key=value, such as budget.images=2000")
        changes[key.strip()] = parse_value(value)
    return changes
