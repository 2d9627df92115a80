"""Network slimming: an L1 penalty on the scales of batch norms, then channels of small scale go and the rest is fine-tuned.

Formula: loss = task loss + λ Σ ρ(γ). ``l1``: ρ = |γ|, as the proximal step γ ← sign(γ) max(|γ| - η λ, 0) after each optimizer
step, η the learning rate, which reaches zero exactly. ``smooth_l1``: ρ = γ² / 2δ below δ, |γ| - δ/2 above, in the loss.
Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", arXiv 1708.06519; with a penalty of 0
and importance ``filter_l1``, layer by layer (``safe_local``), it is the pruning of filters of Li et al. 2017, arXiv 1608.08710. LR rewinding: Renda et al. 2020,
arXiv 2003.02389.

A trial is training, then n rounds, each of which prunes up to i/n of the rate and fine-tunes under that mask. The lengths of
these parts are in proportion; together they are the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.method import Batches, MainKnob
from compress.pruned import PruningMethod, pieces_of, pruning_of
from compress.quantized import require
from compress.symbols import Symbols

__all__ = ["Slimming"]

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Slimming(PruningMethod):
    """``liu2017_penalty``: λ, until the last pruning. ``smooth_delta``: δ.

    ``training_epochs``, ``fine_tuning_epochs`` of each of ``pruning_iterations``, and ``additional_final_epochs`` after the last are
    shares of the budget, in whatever unit. ``lr_rewinding``: every round runs through the schedule again; else it is trained at
    ``fine_tuning_lr`` times the base rate.
    """

    main_knob: ClassVar[MainKnob] = MainKnob("pruning_rate", (0.2, 0.5, 0.8))

    liu2017_penalty: float = 1e-4
    penalty_form: str = "l1"
    smooth_delta: float = 0.01
    training_epochs: float = 160
    pruning_iterations: int = 1
    fine_tuning_epochs: float = 160
    additional_final_epochs: float = 0
    lr_rewinding: bool = True
    fine_tuning_lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("liu2017_penalty", "training_epochs", "fine_tuning_epochs", "additional_final_epochs"):
            value = getattr(self, name)
            require(name, value, "must be a finite number from 0", 0 <= value < math.inf)
        for name in ("smooth_delta", "fine_tuning_lr"):
            require(name, getattr(self, name), "must be a finite number above 0", 0 < getattr(self, name) < math.inf)
        forms = ("l1", "smooth_l1")
        require("penalty_form", self.penalty_form, f"must be one of {', '.join(forms)}", self.penalty_form in forms)
        whole = type(self.pruning_iterations) is int and self.pruning_iterations >= 1
        require("pruning_iterations", self.pruning_iterations, "must be a whole number from 1", whole)
        rule = "must be above 0 where nothing is fine-tuned"
        require("training_epochs", self.training_epochs, rule, sum(self._lengths) > 0)

    @property
    def _lengths(self) -> list[float]:
        """Of training and of each round."""
        rounds = [float(self.fine_tuning_epochs)] * self.pruning_iterations
        return [float(self.training_epochs), *rounds[:-1], rounds[-1] + self.additional_final_epochs]

    @property
    def ends(self) -> list[float]:
        """Progress at which training and each round end; the last is 1."""
        ends = list(accumulate(self._lengths))
        return [end / ends[-1] for end in ends]

    def phase(self, progress: float) -> int:
        """0 in training, i in round i."""
        return min(sum(progress > end - _ROUNDING for end in self.ends), self.pruning_iterations)

    def phases(self, epochs: int) -> Mapping[str, int]:
        borders = [0, *(round(epochs * end) for end in self.ends)]
        names = ["train", *(f"fine_tune_{i}" for i in range(1, self.pruning_iterations + 1))]
        return {name: end - start for name, start, end in zip(names, borders, borders[1:], strict=False)}

    def learning_rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        phase = self.phase(progress)
        if phase and not self.lr_rewinding:
            return self.fine_tuning_lr
        start, end = [0.0, *self.ends][phase : phase + 2]
        return schedule((progress - start) / (end - start) if end > start else progress)

    def penalty(self, model: nn.Module) -> Tensor:
        if self.penalty_form == "l1" or not self.liu2017_penalty:
            return super().penalty(model)
        values = torch.cat(self._scales(model))
        size = F.smooth_l1_loss(values, torch.zeros_like(values), reduction="sum", beta=self.smooth_delta)
        return self.liu2017_penalty * size * (pruning_of(model).phase < self.pruning_iterations)

    def on_epoch(self, model: nn.Module, progress: float, batches: Batches) -> None:
        self._advance(model, progress)

    @torch.no_grad()
    def proximal(self, model: nn.Module, progress: float, rate: float) -> None:
        if self.penalty_form == "l1" and self.phase(progress) < self.pruning_iterations:
            for scale in self._scales(model):
                scale.copy_(F.softshrink(scale, rate * self.liu2017_penalty))

    def on_step(self, model: nn.Module, progress: float) -> None:
        """A round begins where its time has come, be it within an epoch."""
        self._advance(model, progress)
        if int(pruning_of(model).phase):
            self._clear(model)

    def symbols(self, model: nn.Module) -> list[Symbols]:
        """In the last round the mask is fixed; before, the file is pruned at the full rate as of now."""
        last = int(pruning_of(model).phase) == self.pruning_iterations
        gone = pruning_of(model).gone if last else self.selected(model, self.pruning_rate)
        return list(self.masked(model, gone))

    def _advance(self, model: nn.Module, progress: float) -> None:
        pruning, phase = pruning_of(model), self.phase(progress)
        if phase == int(pruning.phase):
            return
        pruning.gone.copy_(self.selected(model, self.pruning_rate * phase / self.pruning_iterations))
        pruning.phase.fill_(phase)
        self._clear(model)

    @torch.no_grad()
    def _clear(self, model: nn.Module) -> None:
        """Zeros where the mask says so, which no optimizer's momentum outlives."""
        for parameter, gone in pieces_of(model, pruning_of(model).gone):
            parameter.masked_fill_(gone, 0.0)

    @staticmethod
    def _scales(model: nn.Module) -> list[Tensor]:
        return [model.get_parameter(site.pieces[0].name) for site in pruning_of(model).sites]
