"""Dead-zone quantisation with learnable dead zone and bit width (CoDeQ).

Formula: hard w = s q + δ sign(q) with q = clip(round(sign(w) relu(|w| - δ) / s), -Q, Q); dead zone d = 2R (1 - |tanh θ_dz|),
b = round((max_bits - 2) |tanh θ_bit| + 2), Q = 2^(b-1) - 1, s = (R - d/2) / (Q - 1/2), δ = (d - s) / 2, R the 0.99
quantile of |w|. Loss = task loss + lambda_dz Σ θ_dz² + lambda_bit Σ θ_bit² (Eq. of section 4).
Source: Wenshøj et al. 2025, "CoDeQ", arXiv 2512.12981.

The authors' code applies the two penalties as decoupled weight decay on the parameter groups ``dz`` and ``bit``, which
with AdamW is a different thing: here that is ``dz.weight_decay`` and ``bit.weight_decay``, and the loss terms of the
paper are ``lambda_dz`` and ``lambda_bit``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compress.method import MainKnob
from compress.quantized import QuantizedMethod, is_width, quantized_weights, require
from compress.quantizers import QUANTIZERS, DeadzoneQuantizer

__all__ = ["Deadzone"]


@dataclass(frozen=True, kw_only=True)
class Deadzone(QuantizedMethod):
    """``fixed_bit_val`` holds where bits are not learnt; a logit of 3 is almost no dead zone, of 0 the widest."""

    main_knob: ClassVar[MainKnob] = MainKnob("init_deadzone_logit", (3.0, 0.8, 0.3))

    statistic: str = "quantile"
    fixed_bit_val: int = 4
    max_bits: int = 8
    init_deadzone_logit: float = 3.0
    init_bit_logit: float = 3.0
    learnable_bit: bool = True
    learnable_deadzone: bool = True
    lambda_dz: float = 0.0
    lambda_bit: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fixed_bit_val", "max_bits"):
            value = getattr(self, name)
            require(name, value, "must be a whole number from 2 to 16", is_width(value))
        for name in ("init_deadzone_logit", "init_bit_logit"):
            value = getattr(self, name)
            require(name, value, "must be a finite number", math.isfinite(value))
        for name in ("lambda_dz", "lambda_bit"):
            value = getattr(self, name)
            require(name, value, "must be a finite number from 0", 0 <= value < float("inf"))

    def quantizer(self, bits: int | None) -> nn.Module:
        return QUANTIZERS["deadzone"](
            bits=bits or self.fixed_bit_val,
            max_bits=self.max_bits,
            logit_dz=self.init_deadzone_logit,
            logit_bit=self.init_bit_logit,
            learn=(self.learnable_bit and bits is None, self.learnable_deadzone),
            scale=self.scale_options(),
        )

    def parameter_groups(self, model: nn.Module) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {"base": [], "dz": [], "bit": []}
        kinds = {"logit_dz": "dz", "logit_bit": "bit"}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups[kinds.get(name.rpartition(".")[2], "base")].append(parameter)
        return groups

    def penalty(self, model: nn.Module) -> Tensor:
        groups = self.parameter_groups(model)
        terms = [(self.lambda_dz, groups["dz"]), (self.lambda_bit, groups["bit"])]
        total = super().penalty(model)
        for strength, logits in terms:
            if strength and logits:
                total = total + strength * torch.stack(tuple(logits)).square().sum()
        return total

    def measures(self, model: nn.Module) -> dict[str, float]:
        """``dead_zone``: mean of d / 2R over layers, in [0, 1]."""
        logits = [q.logit_dz for _, q, _ in quantized_weights(model) if isinstance(q, DeadzoneQuantizer)]
        return {"dead_zone": float(1 - torch.stack(logits).detach().tanh().abs().mean())} if logits else {}
