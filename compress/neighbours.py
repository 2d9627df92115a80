"""The context prior: how many bits the codec ``context`` will take, given what it knows at each integer.

A logistic with a mean and a scale for each integer x, both from what is coded before it, as in joint autoregressive priors
(Minnen et al. 2018, arXiv 1809.02736). With m the tensor's mean magnitude (its channel's, where its decoder knows frequencies),

    ℓ = ln m + b + w_row d_row + w_group d_group + g ln(1 + Σ_n softplus(v_n) |x_n| / m)
    d = ln((1 + S / m) / (1 + N)), S the sum of magnitudes of the N integers seen so far in the row, or in the group
    k = 2 ln(1 + 2 e^-ℓ), so that P(x ≠ 0) = σ(ℓ) at the scale 1 / k;  τ = Σ_n t_n sign(x_n)
    P(x) = σ(k (x + 1/2) - τ) - σ(k (x - 1/2) - τ)

Neighbours x_n, rows and groups are those of the codec's scan (``scans``); b, w, g, v and t are trained and in no file. Contexts
are given: no gradient passes through them. Channels of zeros leave the file and cost nothing here; a map's head counts.

The bits are those of the rounded integers, and no noise is asked for: under it a zero costs 2.4 / k bits, ten times its price
where one in a hundred is something else. The gradient to x is still the one that noise u has on average,
E d/dx bits(x + u) = bits(x + 1/2) - bits(x - 1/2) = log2(cosh((t + k) / 2) / cosh((t - k) / 2)), t = k x - τ. What is in a dead row
or column is held as by the zeros at the end of such a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.scans import Scan, scans

__all__ = ["ContextPrior"]

_LOWEST, _HIGHEST = -20.0, 12.0  # log odds of an integer other than zero: beyond, floats of 32 bits hold no difference
_LN2 = math.log(2)
_NEIGHBOURS = 5  # of a scan, at most
_PICTURE = 16  # so many columns in a square are pixels: the network's inputs, all of which the file keeps


class _Bits(torch.autograd.Function):
    """Bits of the rounded living rows of x under log odds ℓ and shift τ, and the gradients in closed form.

    With a = e^-ℓ, r = e^(-k/2) = 1 / (1 + 2 a), t = k round(x) - τ and z = e^-|t|, an integer costs
    |t| + ln((1 + r z) (z + r) / (2 a r (1 + r))) nats: no difference of what is nearly equal, four transcendental functions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, odds: Tensor, shift: Tensor, living: tuple[Any, ...], pull: Tensor) -> Tensor:
        alive = x[living]
        a = torch.exp(-odds)
        r = (1 + 2 * a).reciprocal_()
        k = torch.log1p(2 * a).mul_(2)
        t = alive.round().mul_(k).sub_(shift)
        ctx.save_for_backward(x, shift, pull, a, r, k, t)
        ctx.living = living
        far = t.abs()
        z = torch.exp(-far)
        nats = (1 + r * z).mul_(z + r).div_((1 + r).mul_(a).mul_(r).mul_(2)).log_().add_(far).clamp_min_(0)
        return nats.sum() / _LN2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, shift, pull, a, r, k, t = ctx.saved_tensors
        unit, living = gradients[0] / _LN2, ctx.living
        alive = x[living]
        z = torch.exp(-t.abs())
        near, far = (1 + r * z).reciprocal_(), (z + r).reciprocal_()
        by_t = (near - z * far).mul_(t.sign())
        by_r = near.mul_(z).add_(far).add_((1 + r).mul_(a).reciprocal_())
        by_k = alive.round().mul_(by_t).sub_(by_r.mul_(r).mul_(0.5))
        by_odds = by_k.mul_(a).mul_(r).mul_(-4 * unit)
        by_x = _slope(alive * k - shift, r * r).mul_(unit)
        if len(alive) < len(x) or alive.shape[1] < x.shape[1]:
            held = x * (pull * unit)
            held[living] = by_x
            by_x = held
        return by_x, by_odds, by_t.mul_(-unit).sum_to_size(shift.shape), None, None


def _slope(t: Tensor, e: Tensor) -> Tensor:
    """ln(cosh((t + k) / 2) / cosh((t - k) / 2)), with e = e^-k."""
    z = torch.exp(-t.abs())
    return (1 + e * z).div_(z + e).log_().mul_(t.sign())


class ContextPrior(nn.Module):
    """Logistic, its mean and scale from rows, groups and neighbours; ``channels`` as for the others. It rounds by itself."""

    rounds: ClassVar[bool] = True

    def __init__(self, shape: Sequence[int], channels: int = 1) -> None:
        super().__init__()
        self.shape = tuple(shape) if len(shape) > 1 else (1, *shape)
        self.vector = len(shape) < 2
        self.level = nn.Parameter(torch.zeros(channels))
        self.density = nn.Parameter(torch.full((2,), 0.4))
        self.gain = nn.Parameter(torch.full((1,), 0.5))
        self.near = nn.Parameter(torch.zeros(_NEIGHBOURS))
        self.tilt = nn.Parameter(torch.zeros(_NEIGHBOURS))

    def fit(self, x: Tensor) -> None:
        """Its level follows the tensor's mean magnitude."""

    def forward(self, x: Tensor) -> Tensor:
        """Bits of all of ``x``, rounded, a scalar."""
        x = x.reshape(self.shape).flatten(2) if len(self.shape) > 2 else x.reshape(*self.shape, 1)
        with torch.no_grad():
            q = x.round()
            living = self._living(q)
            q = q[living]
            scan = self._scan(q.shape)
            mean = _mean(q.abs(), len(self.level))
        by_scan = (len(q), q[:1].numel() // scan.phases, scan.phases)
        odds, shift = self._contexts(q.view(by_scan), (q.abs() / mean).view(by_scan), scan)
        odds = (odds.view(q.shape) + (mean.log() + self.level)).clamp(_LOWEST, _HIGHEST)
        with torch.no_grad():
            empty = (mean.log() + self.level - self.density[0] * math.log(x[0].numel() + 1)).clamp(_LOWEST, _HIGHEST)
            pull = torch.log1p(2 * torch.exp(-empty)).mul_(2)
        bits: Tensor = _Bits.apply(x, odds, shift.view(q.shape), living, pull)
        return bits + _head(q)

    def _contexts(self, q: Tensor, relative: Tensor, scan: Scan) -> tuple[Tensor, Tensor]:
        """Log odds ℓ over their level, and shift τ."""
        odds = torch.zeros_like(q)
        for weight, known in zip(self.density, _densities(relative), strict=True):
            if known is not None:
                odds = odds + weight * known
        back = [n if n < scan.phases else 0 for n in scan.back()]
        if not any(back):
            return odds, torch.zeros_like(q)
        near = _Weighted.apply(relative, F.softplus(self.near), back)
        return odds + self.gain * torch.log1p(near), _Weighted.apply(q.sign(), self.tilt, back)

    def _living(self, q: Tensor) -> tuple[Any, ...]:
        """Rows and columns that hold anything but zeros, as an index; all columns of pixels, and of a vector with any."""
        rows, columns = q.flatten(1).any(1), q.any(0).any(1)
        columns = columns | self.vector | self._pixels()
        if rows.all() and columns.all():
            return (slice(None),)
        if columns.all():
            return (rows.nonzero().squeeze(1),)
        return rows.nonzero(), columns.nonzero().squeeze(1)

    def _pixels(self) -> bool:
        sides = [(math.isqrt(self.shape[1] // planes), planes) for planes in (1, 3)]
        return any(side >= _PICTURE and planes * side * side == math.prod(self.shape[1:]) for side, planes in sides)

    def _scan(self, shape: Sequence[int]) -> Scan:
        """The codec chooses among its scans by the integers; this takes the first by neighbours that lie near."""
        if self.vector:
            return Scan(1, 0)
        offered = scans((*shape[:2], *self.shape[2:]))
        return offered[min(1, len(offered) - 1)]


def _head(q: Tensor) -> float:
    """Bits of the map's head: two bytes and one for each of the first four flags, or one where all are zeros."""
    top = int(q.abs().max()).bit_length() if q.numel() else 0
    return 16.0 + 8 * min(top, 4) if top else 8.0


def _mean(size: Tensor, channels: int) -> Tensor:
    """A channel's mean magnitude, at least that of a single one."""
    flat = size.reshape(-1, channels)
    return (flat.sum(0) / max(len(flat), 1)).clamp_min(1 / max(len(flat), 1))


@torch.no_grad()
def _densities(relative: Tensor) -> list[Tensor | None]:
    """Of the row in the phases before, and of the group in the rows above."""
    rows, groups, phases = relative.shape
    by_phase = relative.sum(1, keepdim=True) if groups > 1 else relative
    row = _so_far(by_phase, 2, groups) if phases > 1 else None
    return [row, _so_far(relative.sum(2, keepdim=True), 0, phases) if groups > 1 and rows > 1 else None]


class _Weighted(torch.autograd.Function):
    """Σ_n w_n x_n over the phases that lie ``back`` before each; a gradient to the weights alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, back: list[int]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.back = back
        found = torch.zeros_like(x)
        for n, weight in zip(back, weights.tolist(), strict=False):
            if n:
                found[..., n:].add_(x[..., :-n], alpha=weight)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (x,) = ctx.saved_tensors
        products = [(gradients[0][..., n:] * x[..., :-n]).sum() if n else x.new_zeros(()) for n in ctx.back]
        products += [x.new_zeros(())] * (_NEIGHBOURS - len(products))
        return None, torch.stack(products), None


def _so_far(x: Tensor, axis: int, each: int) -> Tensor:
    """ln((1 + S) / (1 + N)) of what stands before along ``axis``, ``each`` integers an entry."""
    count = torch.arange(x.shape[axis], dtype=x.dtype, device=x.device) * each
    shape = [1, 1, 1]
    shape[axis] = -1
    return (x.cumsum(axis) - x).clamp_min_(0).log1p_().sub_(count.log1p().view(shape))
