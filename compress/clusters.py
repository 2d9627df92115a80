"""Where codewords begin: k-means over vectors, and the principal axes that they are projected on.

k-means++ (Arthur & Vassilvitskii 2007) on a sample, then mini-batches with a rate of 1 / count a centre (Sculley 2010,
doi 10.1145/1772690.1772862). Draws come from the generator that is given.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centroids", "principal_axes"]

_SAMPLE, _BATCH, _ROUNDS = 8192, 4096, 100


@torch.no_grad()
def centroids(vectors: Tensor, count: int, source: torch.Generator) -> Tensor:
    """(count, D) centres of (n, D) vectors, in float64 on the CPU until the end."""
    points = vectors.detach().double().cpu()
    centres = _spread(points[torch.randperm(len(points), generator=source)[:_SAMPLE]], count, source)
    seen = torch.zeros(count, dtype=torch.float64)
    for _ in range(_ROUNDS):
        batch = points[torch.randint(len(points), (min(_BATCH, len(points)),), generator=source)]
        nearest = torch.cdist(batch, centres).argmin(1)
        counts = torch.bincount(nearest, minlength=count).double()
        seen += counts
        sums = torch.zeros_like(centres).index_add(0, nearest, batch)
        centres += (sums - counts[:, None] * centres) / seen.clamp_min(1)[:, None]
    return centres.to(vectors)


def _spread(points: Tensor, count: int, source: torch.Generator) -> Tensor:
    """Each next centre with a chance in proportion to the squared distance from those there are."""
    chosen = [points[int(torch.randint(len(points), (1,), generator=source))]]
    apart = (points - chosen[0]).square().sum(1)
    while len(chosen) < count:
        some = apart if bool(apart.sum() > 0) else torch.ones_like(apart)
        chosen.append(points[int(torch.multinomial(some, 1, generator=source))])
        apart = torch.minimum(apart, (points - chosen[-1]).square().sum(1))
    return torch.stack(chosen)


@torch.no_grad()
def principal_axes(vectors: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Mean (C,) and orthonormal axes (C, width) of (n, C) vectors, zeros where ``width`` exceeds C."""
    points = vectors.detach().double().cpu()
    mean = points.mean(0)
    centred = points - mean
    axes = torch.linalg.eigh(centred.t() @ centred).eigenvectors.flip(1)[:, :width]
    whole = torch.zeros(len(mean), width, dtype=torch.float64)
    whole[:, : axes.shape[1]] = axes
    return mean.to(vectors), whole.to(vectors)
