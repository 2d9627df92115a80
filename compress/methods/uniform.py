"""Uniform symmetric quantisation of weights, trained straight-through.

Formula: s = R / Q with Q = 2^(b-1) - 1 and R = max|w|; hard w = s clip(round(w / s), -Q, Q), round with gradient 1.
Source: the uniform quantizer of Wenshøj et al. 2025, arXiv 2512.12981; straight-through gradients: Bengio et al. 2013,
arXiv 1308.3432.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from compress.method import MainKnob
from compress.quantized import QuantizedMethod, is_width, require
from compress.quantizers import QUANTIZERS

__all__ = ["Uniform"]


@dataclass(frozen=True, kw_only=True)
class Uniform(QuantizedMethod):
    """``bitwidth``: bits of every quantised weight, 2 to 16."""

    main_knob: ClassVar[MainKnob] = MainKnob("bitwidth", (8, 4, 2))

    bitwidth: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require("bitwidth", self.bitwidth, "must be a whole number from 2 to 16", is_width(self.bitwidth))

    def quantizer(self, bits: int | None) -> nn.Module:
        return QUANTIZERS["uniform"](bits=bits or self.bitwidth, scale=self.scale_options())
