"""What each channel of a traced network always is, given its weights: one number, or *live*.

Zero behind a zero filter, β behind a batch norm of γ = 0, and what follows from those: forward, one pass, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress.graph import Graph, Step

__all__ = ["Bools", "Constants", "State", "Values", "channel_padding", "is_padded"]

Bools = NDArray[np.bool_]
Values = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]


class Constants:
    """``values`` by step, NaN for live channels; ``links`` of convolutions and linear layers, (outputs, inputs).

    ``fold``: what a layer reads of a constant is a bias of its, unless zeros are padded around it; else the constant is read.
    """

    def __init__(self, graph: Graph, state: State, fold: bool) -> None:
        own = graph.network.state_dict()
        self.state = {n: state[n] if n in state else v.detach().cpu().numpy() for n, v in own.items()}
        self.fold = fold
        self.values: dict[str, Values] = {}
        self.links: dict[str, Bools] = {}
        for step in graph.steps.values():
            if step.channels:
                self.values[step.name] = getattr(self, f"_{step.kind}_values")(step)

    def _part(self, step: Step, name: str) -> NDArray[Any] | None:
        return self.state.get(f"{step.layer}.{name}".lstrip("."))

    def _input_values(self, step: Step) -> Values:
        return np.full(step.channels, np.nan)

    _opaque_values = _number_values = _output_values = _input_values

    def _layer_values(self, step: Step) -> Values:
        links = self._linked(step)
        bias = self._part(step, "bias")
        out = np.zeros(step.channels) if bias is None else bias.astype(np.float64)
        if self.folds(step):
            out = out + self.constant_part(step)
        out[(links & self.active(step)).any(1)] = np.nan
        return out

    _conv_values = _linear_values = _layer_values

    def _norm_values(self, step: Step) -> Values:
        scale, shift, mean, variance = (
            np.asarray(self._part(step, n), np.float64) for n in ("weight", "bias", "running_mean", "running_var")
        )
        slope = scale / np.sqrt(variance + float(step.module.eps))  # type: ignore[union-attr,arg-type]
        return np.where(scale == 0, shift, slope * (self.values[step.inputs[0]] - mean) + shift)

    def _pointwise_values(self, step: Step) -> Values:
        given = self.values[step.inputs[0]]
        found = step.apply(torch.from_numpy(np.nan_to_num(given))).detach().numpy()
        return np.where(np.isnan(given), np.nan, found)

    def _pool_values(self, step: Step) -> Values:
        given, module = self.values[step.inputs[0]], step.module
        padding = getattr(module, "padding", 0) if module is not None else step.setting("padding", 3, 0)
        largest = "max" in (type(module).__name__ if module is not None else str(step.node.target)).lower()
        return given if largest or not np.any(padding) else np.where(given == 0, 0.0, np.nan)

    def _slice_values(self, step: Step) -> Values:
        return self.values[step.inputs[0]]

    def _pad_values(self, step: Step) -> Values:
        given, (start, around) = self.values[step.inputs[0]], channel_padding(step)
        out = np.zeros(step.channels)
        out[start : start + len(given)] = np.where((given != 0) & around, np.nan, given)
        return out

    def _operands(self, step: Step) -> list[Any]:
        return [self.values[a] if isinstance(a, str) else a for a in step.operands()]

    def _add_values(self, step: Step) -> Values:
        return np.asarray(sum(self._operands(step)))

    def _mul_values(self, step: Step) -> Values:
        operands = self._operands(step)
        null = np.any([np.broadcast_to(np.asarray(o) == 0, step.channels) for o in operands], axis=0)
        return np.where(null, 0.0, math.prod(operands))

    def _cat_values(self, step: Step) -> Values:
        return np.concatenate([self.values[str(part)] for part in step.operands()])

    def _flatten_values(self, step: Step) -> Values:
        given = self.values[step.inputs[0]]
        return np.repeat(given, step.channels // len(given))

    def _linked(self, step: Step) -> Bools:
        """(outputs, inputs): whether any weight between them is not zero."""
        weight = np.asarray(self._part(step, "weight"))
        some = (weight != 0).reshape(*weight.shape[:2], -1).any(2)
        groups = getattr(step.module, "groups", 1)
        self.links[step.name] = some if groups == 1 else _spread(some, groups)
        return self.links[step.name]

    def active(self, step: Step) -> Bools:
        """Inputs that a layer must see: live ones, and constants that no bias of its stands for."""
        values = self.values[step.inputs[0]]
        return np.isnan(values) if self.folds(step) else values != 0

    def folds(self, step: Step) -> bool:
        """Whether constants become a bias of this layer."""
        return self.fold and not is_padded(step)

    def constant_part(self, step: Step, without: Bools | None = None) -> Values:
        """What constant inputs give each output, but for those that are read."""
        values = self.values[step.inputs[0]] if without is None else np.where(without, 0.0, self.values[step.inputs[0]])
        weight = np.asarray(self._part(step, "weight"), np.float64)
        sums = weight.reshape(*weight.shape[:2], -1).sum(2)
        groups = getattr(step.module, "groups", 1)
        whole = sums if groups == 1 else _spread(sums, groups)
        return np.asarray((whole * np.nan_to_num(values)).sum(1))


def is_padded(step: Step) -> bool:
    """Whether zeros are put around what a convolution reads."""
    module: Any = step.module
    if step.kind != "conv" or module.padding_mode != "zeros" or module.padding == "valid":
        return False
    return module.padding == "same" or any(module.padding)


def _spread(some: NDArray[Any], groups: int) -> NDArray[Any]:
    """(outputs, inputs of a group) -> (outputs, inputs), zero between groups."""
    outputs, inputs = some.shape
    whole = np.zeros((groups, outputs // groups, groups, inputs), some.dtype)
    for group in range(groups):
        whole[group, :, group] = some[group * (outputs // groups) : (group + 1) * (outputs // groups)]
    return whole.reshape(outputs, groups * inputs)


def channel_padding(step: Step) -> tuple[int, bool]:
    """(zeros put before the channels, whether space is padded too)."""
    widths, place = step.setting("pad", 1), 2 * (len(step.node.meta["shape"]) - 2)
    return (widths[place] if len(widths) > place else 0), any(widths[:place])
