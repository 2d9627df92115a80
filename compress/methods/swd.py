"""Selective weight decay: what is going to be pruned is decayed ever harder while the rest trains on.

Formula: loss = task loss + a(t) μ/2 ||w*||², w* what pruning at the final rate would take now, a(t) = a_min (a_max / a_min)^t with t
the progress in steps. The decay is applied as the proximal step w* ← w* / (1 + η a μ) after each optimizer step, η the learning
rate: stable at any a, and apart from momentum and adaptive rates. What is shipped is pruned as of now, without fine-tuning.
Source: Tessier et al. 2022, "Rethinking Weight Decay for Efficient Neural Network Pruning", J. Imaging 8(3), 64,
doi 10.3390/jimaging8030064, arXiv 2011.10520.

η falls with the schedule. Over few steps the published a of 0.1 to 1e5 decays next to nothing: what counts is that the sum of η a μ
is well above 1 while there are steps left to recover (measure ``slated_norm``). In 72 steps of AdamW at 1e-3, 1e5 to 1e9 does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.method import Batches, MainKnob
from compress.pruned import STRUCTURES, PruningMethod, pieces_of, pruning_of
from compress.pruning import mask_of
from compress.quantized import require

__all__ = ["Swd"]


@dataclass(frozen=True, kw_only=True)
class Swd(PruningMethod):
    """``structure``: ``norms`` (γ and β of channels), ``filters`` (the filters in front too), or single ``weights``.

    ``reselect``: what is going to be pruned is chosen anew at every ``step``, or ``epoch``. Of single weights the rate is the
    share of all weights of layers, whatever ``target`` says. How many entries a rate of parameters stands for is found once an
    epoch, and again for each file.
    """

    main_knob: ClassVar[MainKnob] = MainKnob("pruning_rate", (0.2, 0.5, 0.8))

    a_min: float = 0.1
    a_max: float = 1e5
    mu: float = 5e-4
    structure: str = "norms"
    reselect: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("a_min", self.a_min, "must be a finite number above 0", 0 < self.a_min < math.inf)
        require("a_max", self.a_max, "must be a finite number from a_min", self.a_min <= self.a_max < math.inf)
        require("mu", self.mu, "must be a finite number from 0", 0 <= self.mu < math.inf)
        for name, allowed in (("structure", STRUCTURES), ("reselect", ("step", "epoch"))):
            require(name, getattr(self, name), f"must be one of {', '.join(allowed)}", getattr(self, name) in allowed)
        if self.structure == "weights":
            rule = "must be global or local where structure = 'weights'"
            require("pruning_criterion", self.pruning_criterion, rule, "safe" not in self.pruning_criterion)

    @property
    def structured_by(self) -> str:
        return "filters" if self.structure == "norms" and self.importance.startswith("filter_") else self.structure

    def strength(self, progress: float) -> float:
        """a(t)."""
        return float(self.a_min * (self.a_max / self.a_min) ** min(max(progress, 0.0), 1.0))

    def on_epoch(self, model: nn.Module, progress: float, batches: Batches) -> None:
        pruning = pruning_of(model)
        pruning.count.fill_(self.count(model, self.pruning_rate))
        pruning.gone.copy_(mask_of(self.order(model), pruning.count, len(pruning.gone)))

    @torch.no_grad()
    def proximal(self, model: nn.Module, progress: float, rate: float) -> None:
        pruning = pruning_of(model)
        if self.reselect == "step":
            pruning.gone.copy_(mask_of(self.order(model), pruning.count, len(pruning.gone)))
        kept = 1 / (1 + rate * self.strength(progress) * self.mu)
        for parameter, factors in pieces_of(model, torch.where(pruning.gone, kept, 1.0)):
            parameter.mul_(factors)

    @torch.no_grad()
    def measures(self, model: nn.Module) -> dict[str, float]:
        """``slated_norm``: ||w*|| / ||w|| over what may be pruned; near 0, pruning changes nothing any more."""
        sums = torch.zeros(2, device=pruning_of(model).gone.device)
        for parameter, slated in pieces_of(model, pruning_of(model).gone):
            squares = parameter.square()
            sums += torch.stack([(squares * slated).sum(), squares.sum()])
        slated, everything = sums.tolist()
        return {**super().measures(model), "slated_norm": math.sqrt(slated / everything) if everything else 0.0}
