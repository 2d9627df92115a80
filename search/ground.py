"""Before the first trial: which data are really used, the dense network, and what a trial will cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.metrics import Macs, count_macs, original_weights
from search.progress import duration
from search_spaces import Space
from tasks import DataMissing, Task, open_task
from tasks.starts import Start
from trainables.dense import Dense, Price

__all__ = ["Opened", "advice", "dense_line", "dry_size", "open_embedded", "open_space", "plain_dense", "trial_estimate"]

_LONG = 3600.0  # seconds on a CPU after which the flags that make a search smaller are named


@dataclass(frozen=True)
class Opened:
    """A space with its data read. ``data_used`` is the tag of every record."""

    space: Space
    task: Task
    start: Start
    data_used: str


def open_space(space: Space, root: Path, strict: bool, say: Callable[[str], None]) -> Opened:
    """Read the space's data, or go on with its embedded section where they are not to be had.

    ``strict``: the data set was asked for by name, and its absence is an error (DataMissing).
    """
    try:
        task, start = open_task(space.task, root)
        return Opened(space, task, start, task.data.name)
    except DataMissing as error:
        if strict or not space.file.embedded:
            raise DataMissing(
                f"{error}; put it under {root} (--data-root, RATEFRONT_DATA), or use --data digits"
            ) from error
        return open_embedded(space, root, f"{space.file.task.data} is not here ({error}); --data-root says where", say)


def open_embedded(space: Space, root: Path, reason: str, say: Callable[[str], None]) -> Opened:
    """The space's embedded section; every record says so."""
    wanted, small = space.file.task.data, space.embedded()
    say(f"{reason}: searching the embedded data {small.file.task.data} instead")
    task, start = open_task(small.task, root)
    return Opened(small, task, start, f"{task.data.name} (embedded; {wanted} was not used)")


def dense_line(task: Task, dense: Dense) -> str:
    """The dense network in one line."""
    spec, data = task.spec, task.data
    shape = "x".join(map(str, data.input_shape))
    return (
        f"dense {spec.network} on {data.name} {shape} (split {data.split}): accuracy {dense.accuracy:.2%}, "
        f"{dense.weights:,} weights, {dense.size:,} bytes, {dense.gops:.3f} GOps; {dense.origin}"
    )


def dry_size(opened: Opened) -> str:
    """The dense network's weights, size and GOps, without training it."""
    network, data = opened.task.build(), opened.task.data
    weights = original_weights(network)
    gops = count_macs(network, data.input_shape).gops
    return f"dense {opened.task.spec.network} on {opened.data_used}: {weights:,} weights, {4 * weights:,} bytes, {gops:.3f} GOps"


def trial_estimate(space: Space, price: Price, concurrent: int) -> float:
    """Seconds of the whole search."""
    rounds = -(-space.trials // concurrent)
    return rounds * price.trial_seconds


def advice(space: Space, price: Price, concurrent: int, device: str) -> list[str]:
    """``N trials x M epochs, about T on this machine``, and where that is long on a CPU, what makes it shorter."""
    seconds, budget = trial_estimate(space, price, concurrent), space.file.budget
    limit = f", at most {duration(budget.wall_time)}" if budget.wall_time else ""
    plural = "s" if space.trials > 1 else ""
    lines = [
        f"{space.trials} trial{plural} x {budget.epochs} epochs, {concurrent} at once: about {duration(seconds)} on this machine"
        f"{limit} ({1000 * price.step_seconds:.0f} ms a step, {duration(price.epoch_seconds)} an epoch)"
    ]
    if seconds > _LONG and device == "cpu" and not budget.wall_time:
        lines.append(
            "that is long for a CPU: --trials, --epochs, --set budget.images=N or --time-budget make it shorter"
        )
    return lines


def plain_dense(dense: Dense, macs: Macs, input_shape: Sequence[int] = ()) -> dict[str, Any]:
    """The reference of every ratio, as metrics name it; ``macs`` the dense network's.

    Of bits sent it is the picture itself, a byte a number, and of a device's work the whole network.
    """
    return {
        "accuracy": dense.accuracy,
        "size": dense.size,
        "rate": 32.0,
        "ratio": 1.0,
        "sparsity": 0.0,
        "mean_bits": 32.0,
        "parameters": dense.weights,
        "macs": macs.total,
        "gops": macs.gops,
        "training_gops": macs.training_gops,
        "bops": macs.total * 32.0 * 32,
        "rel_bops": 1.0,
        "rel_bops_dense": 1.0,
        **dict.fromkeys(("sent_bits_fixed", "sent_bits_coded"), 8 * math.prod(input_shape)),
        "gops_device": macs.gops,
    }
