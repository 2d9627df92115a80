"""Quantizers: parametrizations that turn soft weights into hard ones. A new one is one class and one line here.

Dead zone (Wenshøj et al. 2025, arXiv 2512.12981). With R a statistic of |w| (no gradient), b bits, Q = 2^(b-1) - 1:

    d = 2R (1 - |tanh θ_dz|)      width of the dead zone, in [0, 2R]
    s = (R - d/2) / (Q - 1/2)     step size; the largest level lands on R for every d
    δ = (d - s) / 2               shift
    u = sign(w) relu(|w| - δ),  q = clip(round(u / s), -Q, Q),  hard w = s q + δ sign(q)

ε = 1e-8 is added to every s, so that a tensor of zeros divides by something. q = 0 exactly where |w| <= d/2. Gradients pass straight through round, clip and relu; sign and R are constants.

Uniform: s = R / Q, hard w = s clip(round(w / s), -Q, Q); round is straight-through, clip differentiates normally.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from compress.surrogates import deadzone_through, round_through
from compress.symbols import Symbols

__all__ = ["QUANTIZERS", "DeadzoneQuantizer", "Quantizer", "UniformQuantizer", "absolute_scale"]

_EPS = 1e-8
_MIN_BITS = 2


@runtime_checkable
class Quantizer(Protocol):
    """What a quantizing method needs of its parametrization."""

    def forward(self, w: Tensor) -> Tensor: ...

    def symbols(self, name: str, w: Tensor) -> Symbols: ...


def absolute_scale(w: Tensor, statistic: str, quantile: float, per_channel: bool) -> Tensor:
    """R: the largest or the ``quantile`` of |w| (linear interpolation), shape () or (C, 1, ...); no gradient."""
    flat = w.detach().abs().reshape(w.shape[0] if per_channel else 1, -1)
    if statistic == "max":
        r = flat.amax(1)
    else:
        place = quantile * (flat.shape[1] - 1)
        low = int(place)
        top = flat.topk(flat.shape[1] - low, dim=1).values  # the few largest, descending
        r = torch.lerp(top[:, -1], top[:, max(-2, -top.shape[1])], place - low)
    return r.reshape((-1,) + (1,) * (w.dim() - 1)) if per_channel else r.reshape(())


def _floats(values: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return values.detach().reshape(-1).cpu().numpy().astype(np.float32)


def _integers(q: Tensor) -> np.ndarray[Any, np.dtype[np.int32]]:
    return q.detach().to(torch.int32).cpu().numpy()


class DeadzoneQuantizer(nn.Module):
    """Learnable dead zone and bit width for one weight tensor; always computed in float32.

    ``logit_dz`` and ``logit_bit`` are scalar parameters where they are learnable, buffers where not.
    """

    logit_dz: Tensor
    logit_bit: Tensor

    def __init__(
        self,
        *,
        bits: int,
        max_bits: int,
        logit_dz: float,
        logit_bit: float,
        learn: tuple[bool, bool],
        scale: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.bits, self.max_bits, self.scale = bits, max_bits, dict(scale)
        learn_bit, learn_dz = learn
        self.learn_bit = learn_bit
        self._hold("logit_dz", logit_dz, learn_dz)
        if learn_bit:
            self._hold("logit_bit", logit_bit, True)

    def _hold(self, name: str, value: float, learnable: bool) -> None:
        tensor = torch.tensor(float(value))
        if learnable:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    def bit_width(self) -> Tensor:
        """b: learnt in [2, max_bits] and rounded straight-through, or the fixed width."""
        if not self.learn_bit:
            return self.logit_dz.new_tensor(float(self.bits))
        return round_through((self.max_bits - _MIN_BITS) * self.logit_bit.tanh().abs() + _MIN_BITS)

    def grid(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(s, δ, Q): step size and shift of shape () or (C, 1, ...), and the largest integer."""
        r = absolute_scale(w, **self.scale)
        largest = 2.0 ** (self.bit_width() - 1) - 1
        half = r * (1 - self.logit_dz.tanh().abs())  # d / 2
        s = (r - half) / (largest - 0.5) + _EPS
        return s, half - s / 2, largest.detach()

    def hard(self, w: Tensor) -> Tensor:
        """Hard weights in the precision of ``w``."""
        return deadzone_through(w, *self.grid(w))[0]

    def forward(self, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            return self.hard(w.float())

    @torch.no_grad()
    def symbols(self, name: str, w: Tensor) -> Symbols:
        """The index map with step size and shift, as :meth:`forward` uses them."""
        s, delta, largest = self.grid(w.float())
        q = deadzone_through(w.float(), s, delta, largest)[1]
        return Symbols(
            name, _integers(q), "deadzone", {"step": _floats(s), "shift": _floats(delta)}, float(self.bit_width())
        )


class UniformQuantizer(nn.Module):
    """Symmetric uniform quantisation of one weight tensor to ``bits``; always computed in float32."""

    def __init__(self, *, bits: int, scale: Mapping[str, Any]) -> None:
        super().__init__()
        self.bits, self.scale = bits, dict(scale)

    def levels(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """(q, s): integers of the shape of ``w``; step size of shape () or (C, 1, ...)."""
        largest = 2 ** (self.bits - 1) - 1
        s = absolute_scale(w, **self.scale) / largest + _EPS
        return torch.clamp(round_through(w / s), -largest, largest), s

    def forward(self, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            q, s = self.levels(w.float())
            return s * q

    @torch.no_grad()
    def symbols(self, name: str, w: Tensor) -> Symbols:
        """The index map with its step size."""
        q, s = self.levels(w.float())
        return Symbols(name, _integers(q), "uniform", {"step": _floats(s)}, float(self.bits))


QUANTIZERS: dict[str, type[nn.Module]] = {
    "deadzone": DeadzoneQuantizer,
    "uniform": UniformQuantizer,
}
