"""Priors: how many bits integers will take, as a function with a gradient.

With F the prior's distribution, an integer x costs -log2(F(x + 1/2) - F(x - 1/2)) bits (Ballé et al. 2018, arXiv 1802.01436,
section 3); in training x carries uniform noise of one unit in place of rounding. A prior takes integers of a tensor's shape; it
has one channel, or one for each tap of (O, I, taps...).

    logistic    F(x) = σ(x / s)
    grid        the same, s the product of a scale a row, one a column and one a tap
    laplace     F(x) = 1/2 + sign(x) (1 - exp(-|x| / s)) / 2
    factorised  σ of a small monotone network of x (Ballé et al. 2018, appendix 6.1)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.neighbours import ContextPrior

__all__ = ["PRIORS", "FactorisedPrior", "GridPrior", "LaplacePrior", "LogisticPrior", "with_noise"]

_LEAST = 1e-30  # chance of an integer, so that its logarithm is finite
_NARROWEST = -4.0  # log scale: below, all but zero is impossible and nothing comes back


def with_noise(x: Tensor) -> Tensor:
    """``x`` and uniform noise in [-1/2, 1/2)."""
    return x + (torch.rand_like(x) - 0.5)


class _LogisticBits(torch.autograd.Function):
    """One node for a dozen: the sum of bits, with closed-form gradients, exact in the tails."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sharp: Tensor) -> Tensor:
        far = x.abs()
        v = torch.sigmoid((0.5 - far) * sharp)
        u = torch.sigmoid((-0.5 - far) * sharp)
        mass = (v - u).clamp_min_(_LEAST)
        ctx.save_for_backward(x, far, v, u, mass, sharp)
        return -mass.log2().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, far, v, u, mass, sharp = ctx.saved_tensors
        tilt = 1 - u - v
        scale = gradients[0] / math.log(2)
        spread = 0.5 * (v * (1 - v) + u * (1 - u)) / mass
        by_sharp = (far * tilt - spread).sum_to_size(sharp.shape)
        return x.sign() * tilt * (sharp * scale), by_sharp * scale


class _Scaled(nn.Module):
    """Zero mean, a scale s a channel; ``magnitude`` is the mean of |x| at s = 1."""

    magnitude: ClassVar[float]

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Begin with the scales that the mean magnitudes of ``x`` ask for."""
        size = _by_channel(x, len(self.log_scale)).abs().mean(0) / self.magnitude
        self.log_scale.copy_(size.clamp_min(math.exp(_NARROWEST + 1)).log())


class LogisticPrior(_Scaled):
    """Zero mean, a scale a channel: σ((x + 1/2) / s) - σ((x - 1/2) / s)."""

    magnitude = 2 * math.log(2)

    def forward(self, x: Tensor) -> Tensor:
        """Bits of all of ``x``, a scalar."""
        sharp = torch.exp(-self.log_scale.clamp_min(_NARROWEST))
        bits: Tensor = _LogisticBits.apply(_by_channel(x, len(sharp)), sharp)
        return bits


class GridPrior(nn.Module):
    """Logistic, with a scale of its own for each integer that is a product of one a row, one a column and one a tap.

    ``shape`` (rows, columns, taps...), 1 where an axis has nothing of its own. Rows and columns that thin out get cheaper
    zeros and dearer weights, and die. The scales are not stored: the coder learns densities by rows and columns too.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        axes = range(len(shape))
        self.log_scales = nn.ParameterList(
            nn.Parameter(torch.zeros([n if a == axis else 1 for a in axes])) for axis, n in enumerate(shape) if n > 1
        )

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Begin with one scale, that of the mean magnitude of ``x``."""
        if len(self.log_scales):
            level = (x.abs().mean() / (2 * math.log(2))).clamp_min(1e-2).log()
            self.log_scales[0].fill_(float(level))

    def forward(self, x: Tensor) -> Tensor:
        """Bits of all of ``x``, a scalar."""
        sharp = x.new_ones(())
        for log_scale in self.log_scales:
            sharp = sharp * torch.exp(-log_scale)
        bits: Tensor = _LogisticBits.apply(x, sharp.clamp_max(math.exp(-_NARROWEST)).expand_as(x))
        return bits


class LaplacePrior(_Scaled):
    """Zero mean, a scale a channel; beyond 1/2 the mass is exp(-|x| / s) sinh(1 / 2s)."""

    magnitude = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Bits of all of ``x``, a scalar."""
        sharp = torch.exp(-self.log_scale.clamp_min(_NARROWEST))
        far = _by_channel(x, len(sharp)).abs()
        outside = (far - 0.5).clamp_min(0) * sharp - torch.log(-torch.expm1(-sharp)) + math.log(2)
        near = far.clamp_max(0.5)
        inside = -torch.log1p(-0.5 * (torch.exp(-(0.5 - near) * sharp) + torch.exp(-(0.5 + near) * sharp)))
        return torch.where(far > 0.5, outside, inside).sum() / math.log(2)


class FactorisedPrior(nn.Module):
    """A distribution of any shape a channel: h ← softplus(M) h + b, then h += tanh(a) tanh(h), widths 1-3-3-3-1."""

    widths = (1, 3, 3, 3, 1)

    def __init__(self, channels: int = 1, span: float = 10.0) -> None:
        super().__init__()
        steps = list(zip(self.widths, self.widths[1:], strict=False))
        start = span ** (1 / len(steps))
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.gates = nn.ParameterList()
        for inputs, outputs in steps:
            level = math.log(math.expm1(1 / start / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), level)))
            self.biases.append(nn.Parameter(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5)))
        for outputs in self.widths[1:-1]:
            self.gates.append(nn.Parameter(torch.zeros(channels, outputs, 1)))

    def fit(self, x: Tensor) -> None:
        """Its start is wide enough for any."""

    def forward(self, x: Tensor) -> Tensor:
        """Bits of all of ``x``, a scalar."""
        channels = len(self.matrices[0])
        flat = _by_channel(x, channels).t().unsqueeze(1)
        low, high = self._logits(flat - 0.5), self._logits(flat + 0.5)
        side = -torch.sign(low + high).detach()  # the tail in which both are small, where the difference is exact
        mass = (torch.sigmoid(side * high) - torch.sigmoid(side * low)).abs()
        return -mass.clamp_min(1e-9).log2().sum()

    def _logits(self, x: Tensor) -> Tensor:
        for number, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix) @ x + bias
            if number < len(self.gates):
                x = x + torch.tanh(self.gates[number]) * torch.tanh(x)
        return x


def _by_channel(x: Tensor, channels: int) -> Tensor:
    """(N, channels): the taps of (O, I, taps...), or one channel of all."""
    return x.reshape(-1, channels)


def _grid(shape: Sequence[int], channels: int) -> nn.Module:
    return GridPrior(shape) if len(shape) > 1 else LogisticPrior(channels)  # a vector has no rows and columns


# for a tensor's shape, and channels where its decoder knows frequencies
PRIORS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "logistic": lambda shape, channels: LogisticPrior(channels),
    "grid": _grid,
    "laplace": lambda shape, channels: LaplacePrior(channels),
    "factorised": lambda shape, channels: FactorisedPrior(channels),
    "context": ContextPrior,
}
