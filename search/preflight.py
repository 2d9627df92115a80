"""What need not be run: trials that the front dominates even at their best, and more trials where the front has come to rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from torch import nn

from compress.methods import method_class
from search.archive import Archive
from search.front import Member
from search_spaces.limits import Constraints

__all__ = ["Preflight", "at_best", "at_rest", "dominated"]

_HOPE = 0.01  # accuracy above the dense network's that a trial may reach
_GAIN = 0.01  # of the hypervolume; less in ``patience`` trials is rest


def at_best(bound: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """Metrics that no network of a method can better, from the least ``size`` and ``gops`` known (``Method.bound``)."""
    size, gops = bound.get("size", 0.0), bound.get("gops", 0.0)
    best = dict.fromkeys(dense, 0.0) | {"accuracy": dense["accuracy"] + _HOPE, "sparsity": 1.0}
    best |= {
        "size": size,
        "rate": dense["rate"] * size / dense["size"],
        "ratio": dense["size"] / size if size else math.inf,
    }
    return best | {"gops": gops, "macs": gops * 1e9 / 2}


def dominated(best: Mapping[str, float], members: Sequence[Member], objectives: Mapping[str, str]) -> bool:
    """Whether one of ``members`` is nowhere worse than ``best``."""
    signs = {name: -1 if way == "max" else 1 for name, way in objectives.items()}
    return any(all(sign * m.metrics[name] <= sign * best[name] for name, sign in signs.items()) for m in members)


def at_rest(history: list[float], patience: int | None) -> bool:
    """Whether the last ``patience`` trials together raised the hypervolume by less than a hundredth."""
    if not patience or len(history) <= patience:
        return False
    return history[-1] - history[-1 - patience] < _GAIN * history[-1]


class Preflight(Callback):
    """Asked by the searcher before a trial; a callback that stands behind the archive in Ray's list.

    ``refused`` counts what was not run. ``network``: the dense network, by which methods know their bound; None: nothing is
    refused, as after Ray brought this back from its disk.
    """

    def __init__(
        self, archive: Archive, limits: Constraints, network: nn.Module | None = None, patience: int | None = None
    ) -> None:
        self.archive, self.limits, self.network, self.patience = archive, limits, network, patience
        self.refused = 0
        self.history: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Done, stopped or diverged."""
        self.history.append(self.archive.hypervolume)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A crash counts as a trial too."""
        self.history.append(self.archive.hypervolume)

    def over(self) -> bool:
        """Whether no further trial is worth while."""
        return at_rest(self.history, self.patience)

    def refuses(self, config: Mapping[str, Any]) -> bool:
        """Whether a trial is not worth its first epoch."""
        if self.network is None:
            return False
        bound = method_class(config["method"])(**config["knobs"]).bound(self.network)
        best = at_best(bound, self.archive.scale.dense)
        hopeless = bool(self.limits.broken(best)) or dominated(best, self.archive.members, self.archive.objectives)
        self.refused += hopeless
        return hopeless

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "network": None}
