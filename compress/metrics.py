"""The one record a trial reports, once an epoch, and the counts in it: MACs, GOps, BOPs, sparsity, bits.

MACs are counted by PyTorch's own FlopCounterMode on a meta copy of the shipped network (convolutions, linears and
attention): forward for inference, forward and backward for training; GOps = 2 MACs / 1e9. BOPs of a layer =
density · MACs · b_w · 32 (activations are float32), as in Wenshøj et al. 2025, arXiv 2512.12981, section 6.1; what belongs
to no weight (attention products) counts with 32 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from compress.symbols import Symbols

__all__ = [
    "METRIC_NAMES",
    "Macs",
    "Metrics",
    "WeightCounts",
    "count_macs",
    "count_weights",
    "original_weights",
    "relative_bops",
]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """``accuracy`` in [0, 1] on validation data; ``rate`` bits a weight; ``size`` bytes of the file; ``ratio`` 4·weights/size.

    ``loss`` is the mean training loss in nats, penalties included; ``mean_bits`` the mean weight bits over the original
    weights; ``parameters`` those that the shipped network trains; ``macs`` and ``gops`` of inference an image,
    ``training_gops`` of training on an image, forward and backward; ``bops`` bit operations an image, ``rel_bops`` their
    share of the 32-bit dense network's, and ``rel_bops_dense`` the same with zeros counted as work. ``measures``: further
    ones that the method took of the shipped network.
    """

    epoch: int
    loss: float
    accuracy: float
    rate: float
    size: int
    ratio: float
    sparsity: float
    mean_bits: float
    parameters: int
    macs: int
    gops: float
    training_gops: float
    bops: float
    rel_bops: float
    rel_bops_dense: float
    learning_rate: float
    images_per_second: float
    seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)

    def __getattr__(self, name: str) -> float:
        """Measures read like fields."""
        if name in self.__dict__.get("measures", ()):
            return float(self.measures[name])
        raise AttributeError(f"no metric {name!r}")

    def plain(self) -> dict[str, float]:
        """Names and values, measures among them."""
        return {name: getattr(self, name) for name in METRIC_NAMES} | dict(self.measures)


METRIC_NAMES = tuple(f.name for f in fields(Metrics) if f.name != "measures")


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one image: in all, by layer for those that belong to a weight, and of training on it.

    A minibatch takes its size times as many, an epoch its images times.
    """

    total: int
    layers: Mapping[str, int]
    training: int

    @property
    def gops(self) -> float:
        """Of inference."""
        return 2 * self.total / 1e9

    @property
    def training_gops(self) -> float:
        """Of one step, forward and backward."""
        return 2 * self.training / 1e9


def original_weights(network: nn.Module) -> int:
    """Trainable parameters of the dense network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, input_shape: Sequence[int]) -> Macs:
    """MACs of one image of ``input_shape`` (C, H, W), and of training what the network trains on it."""
    twin = _meta(network)
    rules = {torch.ops.aten.convolution_backward: _convolution_backward}
    with torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=rules) as counter:
        outputs = twin(torch.empty(1, *input_shape, device="meta"))
        total, layers = counter.get_total_flops() // 2, _by_layer(twin, counter)
        if outputs.requires_grad:
            outputs.sum().backward()
    return Macs(total, layers, counter.get_total_flops() // 2)


def _meta(network: nn.Module) -> nn.Module:
    """Its shapes alone, in evaluation mode. On the CPU the counter misses attention kernels.

    Norms, where no product is counted, would take half the time: they hand their input on. Where something is frozen,
    that may change which gradients are computed, and they stay.
    """
    memo: dict[int, Any] = {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    twin = copy.deepcopy(network, memo).eval()
    if all(p.requires_grad for p in twin.parameters()):
        for module in twin.modules():
            if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
                module.forward = torch.clone
    return twin


def _by_layer(twin: nn.Module, counter: FlopCounterMode) -> dict[str, int]:
    """By dotted name; a layer that is itself the network has the empty name, as in named_modules."""
    root = type(twin).__name__
    found = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    counts = {"" if name == root else name.removeprefix(f"{root}."): count for name, count in found.items()}
    leaves = {n: m for n, m in twin.named_modules() if not list(m.children())}
    weighted = {n for n, m in leaves.items() if isinstance(getattr(m, "weight", None), torch.Tensor)}
    return {n: c for n, c in counts.items() if n in weighted}


def _convolution_backward(gradient: Any, inputs: Any, weight: Any, *rest: Any, **named: Any) -> int:
    """Of shapes: each gradient that is asked for costs what forward costs.

    PyTorch's own rule counts a weight's gradient as if there were no groups (pytorch/pytorch#183405).
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, asked = rest
    return int(sum(asked[:2]) * conv_flop_count(inputs, weight, gradient, transposed))


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
