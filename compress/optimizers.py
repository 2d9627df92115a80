"""The optimizer as knobs: one optimizer, some parameter groups, one schedule that is a function of progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from compress.method import KnobError
from compress.schedules import SCHEDULES, Shape, learning_rate_factor

__all__ = ["GROUPS", "OPTIMIZERS", "Group", "OptimizerKnobs", "build_optimizer", "set_learning_rate"]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
Bend = Callable[[float, Callable[[float], float]], float]
GROUPS = ("base", "dz", "bit", "step", "prior", "codebook")
_FUSED = {"cpu", "cuda"}  # one kernel a step instead of a dozen a tensor


@dataclass(frozen=True, kw_only=True)
class Group:
    """Knobs of one parameter group. ``lr`` None: that of ``base``. ``momentum`` belongs to sgd."""

    lr: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OptimizerKnobs:
    """``milestones`` (of multistep) are progress in (0, 1)."""

    name: str = "adamw"
    base: Group = field(default_factory=lambda: Group(lr=1e-3))
    dz: Group = field(default_factory=Group)
    bit: Group = field(default_factory=Group)
    step: Group = field(default_factory=Group)
    prior: Group = field(default_factory=Group)
    codebook: Group = field(default_factory=Group)
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    power: float = 0.9

    def __post_init__(self) -> None:
        _require("name", self.name, f"must be one of {', '.join(OPTIMIZERS)}", self.name in OPTIMIZERS)
        _require("schedule", self.schedule, f"must be one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES)
        _require("gamma", self.gamma, "must be a finite number from 0", 0 <= self.gamma < float("inf"))
        _require("power", self.power, "must be a finite number above 0", 0 < self.power < float("inf"))
        inside = all(0 < m < 1 for m in self.milestones)
        _require("milestones", list(self.milestones), "must lie in (0, 1), the share of the epochs done", inside)
        _require("base.lr", self.base.lr, "must be given", self.base.lr is not None)
        for name in GROUPS:
            self._check_group(name, getattr(self, name))

    def _check_group(self, name: str, group: Group) -> None:
        for knob in fields(Group):
            value = getattr(group, knob.name)
            if value is not None:
                _require(f"{name}.{knob.name}", value, "must be a finite number from 0", 0 <= value < float("inf"))
        sgd_only = "only sgd has momentum"
        _require(f"{name}.momentum", group.momentum, sgd_only, not group.momentum or self.name == "sgd")
        if name != "base":
            rule = f"decay of this group is decoupled and needs adamw, not {self.name}"
            rule += f"; the loss term is lambda_{name}" if name in ("dz", "bit") else ""
            _require(f"{name}.weight_decay", group.weight_decay, rule, not group.weight_decay or self.name == "adamw")

    @property
    def shape(self) -> Shape:
        """What the schedule reads."""
        return Shape(milestones=tuple(self.milestones), gamma=self.gamma, power=self.power)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> OptimizerKnobs:
        """From nested plain data, as in a config."""
        groups = {name: Group(**plain[name]) for name in GROUPS if name in plain}
        return cls(**{**plain, **groups})


def _require(name: str, value: Any, rule: str, holds: bool) -> None:
    if not holds:
        raise KnobError(f"optimizer.{name} = {value!r}: {rule}")


def build_optimizer(knobs: OptimizerKnobs, groups: Mapping[str, list[nn.Parameter]]) -> torch.optim.Optimizer:
    """One optimizer over the method's groups; each keeps its starting rate as ``initial_lr``."""
    rows: list[dict[str, Any]] = []
    for name, parameters in groups.items():
        group = getattr(knobs, name, knobs.base)  # a group of a method's own trains as base does
        lr = knobs.base.lr if group.lr is None else group.lr
        row = {"params": parameters, "lr": lr, "initial_lr": lr, "weight_decay": group.weight_decay, "group": name}
        rows.append({**row, "momentum": group.momentum} if knobs.name == "sgd" else row)
    kinds = {p.device.type for parameters in groups.values() for p in parameters}
    return OPTIMIZERS[knobs.name]([row for row in rows if row["params"]], fused=kinds <= _FUSED or None)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, knobs: OptimizerKnobs, progress: float, bend: Bend | None = None
) -> float:
    """Set every group's rate for ``progress`` and return that of the first; ``bend`` makes a factor of the schedule."""

    def schedule(progress: float) -> float:
        return learning_rate_factor(knobs.schedule, progress, knobs.shape)

    factor = bend(progress, schedule) if bend else schedule(progress)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
