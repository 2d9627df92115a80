"""The one record a trial reports, once an epoch, and the counts in it: MACs, GOps, BOPs, sparsity, bits.

MACs are counted by PyTorch's own FlopCounterMode on a meta copy of the shipped network (convolutions, linears and
attention), GOps = 2 MACs / 1e9. BOPs of a layer = density · MACs · b_w · 32 (activations are float32), as in Wenshøj et
al. 2025, arXiv 2512.12981, section 6.1; what belongs to no weight (attention products) counts with 32 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.symbols import Symbols

__all__ = ["Macs", "Metrics", "WeightCounts", "count_macs", "count_weights", "original_weights", "relative_bops"]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """``accuracy`` in [0, 1] on validation data; ``rate`` bits a weight; ``size`` bytes of the file; ``ratio`` 4·weights/size.

    ``loss`` is the mean training loss in nats, penalties included; ``mean_bits`` the mean weight bits over the original
    weights; ``bops`` bit operations an image, ``rel_bops`` their share of the 32-bit dense network's, and
    ``rel_bops_dense`` the same with zeros counted as work.
    """

    epoch: int
    loss: float
    accuracy: float
    rate: float
    size: int
    ratio: float
    sparsity: float
    mean_bits: float
    gops: float
    bops: float
    rel_bops: float
    rel_bops_dense: float
    learning_rate: float
    images_per_second: float
    seconds: float

    def plain(self) -> dict[str, float]:
        """Field names and values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one image: in all, and by layer for those that belong to a weight."""

    total: int
    layers: Mapping[str, int]


def original_weights(network: nn.Module) -> int:
    """Trainable parameters of the dense network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, input_shape: Sequence[int]) -> Macs:
    """MACs of one image of ``input_shape`` (C, H, W)."""
    twin = copy.deepcopy(network).to("meta").eval()  # on the CPU the counter misses attention kernels
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.empty(1, *input_shape, device="meta"))
    root = type(twin).__name__  # a layer that is itself the network has the empty name, as in named_modules
    found = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    counts = {"" if name == root else name.removeprefix(f"{root}."): count for name, count in found.items()}
    leaves = {n: m for n, m in twin.named_modules() if not list(m.children())}
    weighted = {n for n, m in leaves.items() if isinstance(getattr(m, "weight", None), torch.Tensor)}
    return Macs(counter.get_total_flops() // 2, {n: c for n, c in counts.items() if n in weighted})


@dataclass(frozen=True)
class WeightCounts:
    """Over the original weights: share that decodes to zero, and mean bits."""

    sparsity: float
    mean_bits: float


def count_weights(tensors: Sequence[Symbols], trainable: set[str], weights: int) -> WeightCounts:
    """Count the tensors named in ``trainable``; what has left the network altogether counts as zeros of no bits."""
    kept = [t for t in tensors if t.name in trainable]
    nonzero = sum(t.nonzero() for t in kept)
    bits = sum(t.bits * t.index.size for t in kept)
    return WeightCounts(1 - nonzero / weights, bits / weights)


def relative_bops(macs: Macs, tensors: Sequence[Symbols], dense_macs: int) -> dict[str, float]:
    """``bops``, ``rel_bops`` and ``rel_bops_dense`` of a shipped network against its dense one."""
    by_name = {t.name.rpartition(".")[0]: t for t in tensors if t.name.rpartition(".")[2] == "weight"}
    sparse = dense = 32.0 * (macs.total - sum(macs.layers[n] for n in macs.layers if n in by_name))
    for name, count in macs.layers.items():
        if name in by_name:
            tensor = by_name[name]
            density = tensor.nonzero() / max(tensor.index.size, 1)
            sparse += count * tensor.bits * density
            dense += count * tensor.bits
    whole = 32.0 * dense_macs
    return {"bops": 32.0 * sparse, "rel_bops": sparse / whole, "rel_bops_dense": dense / whole}
