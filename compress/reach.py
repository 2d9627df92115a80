"""Which channels a network's zeros leave: alive from the input, wanted by the output.

Forward, every channel of every step is *live*, or the one number it always is (0 behind a zero filter; behind a batch norm of
γ = 0 its β). Backward from the output, a channel is *wanted* where a wanted channel is made of it by a weight other than zero.
Both are exact, boolean but for the constants, and one pass each. Constants other than zero that a padded convolution reads are
live to it, since its border sees zeros; elsewhere ``fold`` turns them into a bias of their reader, and without it they stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.constants import Bools, Constants, State, Values, channel_padding
from compress.graph import Graph, Step

__all__ = ["Kept", "Reach", "parameters_left", "reach"]


@dataclass(frozen=True)
class Kept:
    """Of a layer: output channels that stay, input channels that stay (None for norms), and what it gains as a bias."""

    rows: Bools
    columns: Bools | None = None
    bias: Values | None = None


@dataclass(frozen=True)
class Reach:
    """``wanted``: by step, the channels that its output still has. ``layers``: by layer name."""

    wanted: Mapping[str, Bools]
    layers: Mapping[str, Kept]

    @property
    def whole(self) -> bool:
        """Whether nothing can leave."""
        parts = [p for k in self.layers.values() for p in (k.rows, k.columns) if p is not None]
        return all(part.all() for part in parts)


def parameters_left(graph: Graph, state: State, fold: bool = False) -> int:
    """Trainable parameters of the network that ``shrink`` makes of these weights."""
    found = reach(graph, state, fold)
    parameters = dict(graph.network.named_parameters())
    count = sum(p.numel() for n, p in parameters.items() if n.rpartition(".")[0] not in found.layers)
    for name, kept in found.layers.items():
        rows, columns = int(kept.rows.sum()), None if kept.columns is None else int(kept.columns.sum())
        for part in ("weight", "bias"):
            tensor = parameters.get(f"{name}.{part}")
            if tensor is not None:
                whole = part == "weight" and columns is not None
                count += rows * (_width(graph, name, columns) * math.prod(tensor.shape[2:]) if whole else 1)
            elif part == "bias" and kept.bias is not None:
                count += rows
    return count


def _width(graph: Graph, layer: str, columns: int | None) -> int:
    """Input channels that each output channel reads."""
    module: Any = graph.network.get_submodule(layer)
    return int(module.weight.shape[1]) if getattr(module, "groups", 1) > 1 else columns or 0


def reach(graph: Graph, state: State, fold: bool = False) -> Reach:
    """``state``: the network's, by name, with zeros where it is pruned; layers that it lacks keep the network's own."""
    found = _Backward(graph, Constants(graph, state, fold))
    return Reach(found.wanted, found.layers)


class _Backward:
    def __init__(self, graph: Graph, constants: Constants) -> None:
        self.graph, self.constants, self.values = graph, constants, constants.values
        self.wanted = {n: np.zeros(s.channels, bool) for n, s in graph.steps.items()}
        self.layers: dict[str, Kept] = {}
        self.needed: set[str] = set()  # steps that must give something, be it zeros
        for step in reversed(list(graph.steps.values())):
            if step.name in self.needed and not self.wanted[step.name].any():
                self.wanted[step.name][self._pick(step.name)] = True
            getattr(self, f"_{step.kind}_wants", self._same_wants)(step)

    def _ask(self, name: str, channels: Bools) -> None:
        """Channels that are zero need not be there."""
        self.wanted[name] |= channels & (self.values[name] != 0)

    def _output_wants(self, step: Step) -> None:
        for name in step.inputs:
            if len(self.wanted[name]):
                self._ask(name, np.ones_like(self.wanted[name]))
                self.needed.add(name)

    _opaque_wants = _output_wants

    def _number_wants(self, step: Step) -> None:
        return

    _input_wants = _number_wants

    def _same_wants(self, step: Step) -> None:
        self.wanted[step.inputs[0]] |= self.wanted[step.name]

    def _norm_wants(self, step: Step) -> None:
        """What a filter of zeros gives is nobody's to compute, though the norm makes a constant of it."""
        wanted = self.wanted[step.name]
        self._ask(step.inputs[0], wanted)
        if wanted.any():
            self.needed.add(step.inputs[0])
        self.layers[step.layer] = Kept(wanted)

    def _layer_wants(self, step: Step) -> None:
        rows, name = self.wanted[step.name], step.inputs[0]
        links, values = self.constants.links[step.name], self.values[name]
        groups = getattr(step.module, "groups", 1)
        if groups > 1:
            rows |= np.repeat(rows.reshape(groups, -1).any(1), len(rows) // groups)
            columns = np.repeat(rows.reshape(groups, -1).any(1), len(values) // groups)
        else:
            columns = links[rows].any(0) & self.constants.active(step)
            if rows.any() and not columns.any():
                columns[self._pick(name)] = True
        if self._is_given(name) and rows.any():
            columns[:] = True
        self._ask(name, columns)
        if rows.any():
            self.needed.add(name)
        bias = self.constants.constant_part(step, columns) if self.constants.folds(step) else None
        gains = bias is not None and bool(bias[rows].any())
        self.layers[step.layer] = Kept(rows, columns, bias if gains else None)

    _conv_wants = _linear_wants = _layer_wants

    def _add_wants(self, step: Step) -> None:
        out = self.wanted[step.name]
        for name in step.inputs:
            self._ask(name, out)
        there = np.any([self.wanted[name] for name in step.inputs], axis=0)
        self.wanted[step.inputs[0]] |= out & ~there

    def _mul_wants(self, step: Step) -> None:
        for name in step.inputs:
            self.wanted[name] |= self.wanted[step.name]

    def _cat_wants(self, step: Step) -> None:
        at = 0
        for part in map(str, step.operands()):
            size = len(self.wanted[part])
            self.wanted[part] |= self.wanted[step.name][at : at + size]
            at += size

    def _flatten_wants(self, step: Step) -> None:
        channels = self.wanted[step.inputs[0]]
        found = self.wanted[step.name].reshape(len(channels), -1).any(1)
        channels |= found
        self.wanted[step.name][:] = np.repeat(found, step.channels // len(channels))

    def _pad_wants(self, step: Step) -> None:
        given = self.wanted[step.inputs[0]]
        start, _ = channel_padding(step)
        given |= self.wanted[step.name][start : start + len(given)]

    def _is_given(self, name: str) -> bool:
        """Whether it is the network's own input: that is there anyhow, and its pixels are coded by their neighbours."""
        step = self.graph.steps[name]
        return step.kind == "input" or (step.kind in ("flatten", "slice") and self._is_given(step.inputs[0]))

    def _pick(self, name: str) -> int:
        """A channel that can be had of a step where all are zero: one that is not padding."""
        step = self.graph.steps[name]
        if step.kind == "pad":
            return self._pick(step.inputs[0]) + channel_padding(step)[0]
        if step.kind == "flatten":
            return self._pick(step.inputs[0]) * (step.channels // len(self.wanted[step.inputs[0]]))
        through = step.kind in ("norm", "pointwise", "pool", "slice", "add", "mul", "cat")
        return self._pick(step.inputs[0]) if through else 0
