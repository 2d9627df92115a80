"""Fronts of several studies side by side. Where split, objectives or input shape differ they are grouped, never joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.bdrate import bd_rate
from analysis.pareto import Scale, front_mask
from analysis.plots import costs
from analysis.records import Record

__all__ = ["SHOWN", "Group", "Levels", "grouped"]

SHOWN = 0.25  # accuracies farther below the dense network's are of no interest to BD-rate
_JOIN = "+"


@dataclass(frozen=True)
class Levels:
    """Where fronts are cut: ``sizes`` in bytes, ``accuracies`` in [0, 1]; empty: one of the group's own."""

    sizes: Sequence[float] = ()
    accuracies: Sequence[float] = ()


@dataclass(frozen=True)
class Group:
    """Studies of the same data, split, input shape and objectives."""

    records: Sequence[Record]

    @property
    def title(self) -> str:
        """What they have in common."""
        first = self.records[0]
        shape, aims = "x".join(map(str, first.input_shape)), ", ".join(f"{n} {w}" for n, w in first.objectives.items())
        return f"{first.data}, split {first.split}, input {shape}: {aims}"

    @property
    def costs(self) -> list[str]:
        """Objectives that are not accuracy; bytes for rate and ratio, which each network has its own of."""
        return costs(self.records[0])

    @cached_property
    def networks(self) -> pd.DataFrame:
        """All fronts as one table, with ``study`` (its place), ``method``, and ``joint``: on the front of all."""
        parts = []
        for place, record in enumerate(self.records):
            methods = record.trials["method"].reindex(record.front["trial_id"]).to_numpy()
            parts.append(record.front.assign(study=place, method=methods))
        table = pd.concat(parts, ignore_index=True)
        joint = front_mask(table[["accuracy", *self.costs]].to_numpy(float) * [-1.0, *(1.0 for _ in self.costs)])
        return table.assign(joint=joint)

    @cached_property
    def scale(self) -> Scale:
        """Of the joint front: the best accuracy and the largest costs among the dense networks."""
        names = ["accuracy", *self.costs]
        dense = {name: max(record.dense.get(name, 1.0) for record in self.records) for name in names}
        return Scale(names, dense, self.records[0].chance)

    def levels(self, asked: Levels) -> Levels:
        """Those asked for, else one point of accuracy below the dense networks, and a twentieth of their size."""
        least = min(record.dense["accuracy"] for record in self.records)
        largest = max(record.dense["size"] for record in self.records)
        return Levels(asked.sizes or [float(f"{largest / 20:.2g}")], asked.accuracies or [round(least - 0.01, 3)])

    def table(self, asked: Levels) -> pd.DataFrame:
        """A row a study: its front by itself, against the first of the group, and what it cost."""
        levels = self.levels(asked)
        return pd.DataFrame([self._row(place, record, levels) for place, record in enumerate(self.records)])

    def _row(self, place: int, record: Record, levels: Levels) -> dict[str, object]:
        front, cost = record.front, self.costs[0]
        own = Scale(list(record.objectives), record.dense, record.chance)
        floor = min(r.dense["accuracy"] for r in self.records) - SHOWN
        first = _pairs(self.records[0].front, cost)
        gops = (
            record.epochs.loc[record.epochs["epoch"] > 0, "training_gops"].sum()
            if "training_gops" in record.epochs
            else np.nan
        )
        row: dict[str, object] = {
            "study": record.name,
            "network": record.network,
            "method": _JOIN.join(record.trials["method"].unique()),
            "front": len(front),
            "hypervolume": own.hypervolume(front.to_dict("records")),
            f"bd_{cost}": bd_rate(_pairs(front, cost), first, floor) if place else 0.0,
        }
        for size in levels.sizes:
            row[f"accuracy_at_{size:.0f}B"] = front.loc[front["size"] <= size, "accuracy"].max()
        for accuracy in levels.accuracies:
            row[f"size_at_{accuracy:g}"] = front.loc[front["accuracy"] >= accuracy, "size"].min()
        row["joint"] = int(self.networks.loc[self.networks["study"] == place, "joint"].sum())
        row |= {"trials": len(record.trials), "epochs": int(record.trials["epochs"].sum())}
        return row | {"trained_gops": gops * float(record.params.get("train_images", "nan"))}

    def shares(self) -> pd.DataFrame:
        """A row a method: ``members`` of the joint front; the share of its hypervolume that the method's networks on the
        studies' own fronts cover ``alone``, and what ``only`` they add.
        """
        networks = self.networks
        whole = self._volume(networks)
        rows = []
        for method in networks["method"].unique():
            own = networks["method"] == method
            alone, without = self._volume(networks[own]), self._volume(networks[~own])
            shares = (
                {"alone": alone / whole, "only": 1 - without / whole} if whole else {"alone": np.nan, "only": np.nan}
            )
            rows.append({"method": method, "members": int((own & networks["joint"]).sum()), **shares})
        return pd.DataFrame(rows, columns=["method", "members", "alone", "only"])

    def _volume(self, networks: pd.DataFrame) -> float:
        return self.scale.hypervolume(networks[list(self.scale.objectives)].to_dict("records"))


def grouped(records: Sequence[Record]) -> list[Group]:
    """In the order in which they come."""
    found: dict[object, list[Record]] = {}
    for record in records:
        key = (record.data, record.split, record.input_shape, tuple(record.objectives.items()), record.chance)
        found.setdefault(key, []).append(record)
    return [Group(group) for group in found.values()]


def _pairs(front: pd.DataFrame, cost: str) -> NDArray[np.float64]:
    """(n, 2): accuracy and cost, where there is one."""
    pairs = front[["accuracy", cost]].to_numpy(float)
    return pairs[pairs[:, 1] > 0]
