"""The front of a study: networks, not trials. Every epoch of every trial is a candidate with a file of its own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Front", "Member"]

_COLUMNS = (
    "trial_id",
    "epoch",
    "accuracy",
    "test_accuracy",
    "rate",
    "size_bytes",
    "ratio",
    "parameters",
    "gops",
    "training_gops",
    "rel_bops",
    "artifact",
)


_AGAIN = ("seeds", "seeds_accuracy", "seeds_std", "on_front")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network. ``accuracy`` on validation data, ``test_accuracy`` on test data, ``artifact`` relative to the study.

    ``evaluation``: right answers, images and conditions behind ``accuracy`` (``tasks.evaluate.Evaluation``). ``repeats``: what
    other seeds reached (``search.repeats``), empty where none was tried.
    """

    trial_id: str
    epoch: int
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    artifact: str
    test_accuracy: float | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    repeats: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As ``front.json`` holds it."""
        metrics = {k: v for k, v in self.metrics.items() if k not in ("epoch", "size")}
        head = {"trial_id": self.trial_id, "epoch": self.epoch, "accuracy": metrics.pop("accuracy", None)}
        head |= {
            "test_accuracy": self.test_accuracy,
            "rate": metrics.pop("rate", None),
            "size_bytes": self.metrics.get("size"),
        }
        tail = {"evaluation": dict(self.evaluation), "config": dict(self.config), "artifact": self.artifact}
        again = {"repeats": dict(self.repeats)} if self.repeats else {}
        return {**head, **metrics, **again, **tail}

    def again(self) -> dict[str, Any]:
        """As ``front.csv`` holds what other seeds reached: how many, mean and spread of their accuracy, the chance to be on the front."""
        reached = self.repeats.get("accuracy") or {}
        found = (self.repeats.get("seeds"), reached.get("mean"), reached.get("std"), self.repeats.get("on_front"))
        return {name: value for name, value in zip(_AGAIN, found, strict=True) if value is not None}


@dataclass(frozen=True)
class Front(Sequence[Member]):
    """Members from the most accurate down, with what they are measured against and where they lie.

    ``dense``: accuracy, test_accuracy, size in bytes, gops of the dense network. ``folder``: the study's.
    """

    members: Sequence[Member]
    objectives: Mapping[str, str]
    dense: Mapping[str, float]
    folder: Path
    hypervolume: float = 0.0
    interrupted: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: Any) -> Any:
        return self.members[index]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def best(self) -> dict[str, float]:
        """The best value of each objective."""
        ways = {name: max if way == "max" else min for name, way in self.objectives.items()}
        return (
            {name: best(m.metrics[name] for m in self.members) for name, best in ways.items()} if self.members else {}
        )

    def tested(self, accuracies: Mapping[str, float]) -> Front:
        """With the test accuracy of each artifact."""
        return replace(self, members=[replace(m, test_accuracy=accuracies.get(m.artifact)) for m in self.members])

    def json(self) -> str:
        """A list of members, each with the data and the split it was measured on."""
        origin = {name: self.about[name] for name in ("data", "split") if name in self.about}
        return json.dumps([{**m.plain(), **origin} for m in self.members], indent=1) + "\n"

    def csv(self) -> str:
        """One line a member; knobs in columns of their own, and so is what other seeds reached where some were tried."""
        knobs = list(dict.fromkeys(k for m in self.members for k in m.config))
        columns = [*_COLUMNS, *(_AGAIN if any(m.repeats for m in self.members) else ())]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*columns, *knobs])
        for member in self.members:
            row = {**member.plain(), **member.again()}
            writer.writerow([row.get(c, "") for c in columns] + [member.config.get(k, "") for k in knobs])
        return text.getvalue()
