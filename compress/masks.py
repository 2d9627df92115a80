"""Channels that are masked behind their norm: exact zeros in the network that is shipped, and all numbers kept in training.

A mask multiplies the scale and the shift of the batch norm behind a layer; where none is there, the layer's own filters and
biases. It is a parametrization, so that it is in the model's state and the optimizer's moments stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.graph import Graph, trace
from compress.importance import output_axis
from compress.quantized import require
from compress.splits import find_layer

__all__ = ["ChannelMask", "choose", "insert_masks", "masked"]


class ChannelMask(nn.Module):
    """``keep``: the channels that stay, the first axis of what it masks; ``filters`` names the layer that is ranked."""

    keep: Tensor

    def __init__(self, number: int, filters: str, channels: int) -> None:
        super().__init__()
        self.number, self.filters = number, filters
        self.register_buffer("keep", torch.ones(channels, dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.keep.reshape(-1, *[1] * (values.dim() - 1))


def insert_masks(model: nn.Module, layers: Sequence[tuple[str, int]], input_shape: Sequence[int]) -> None:
    """A mask for each layer (path, how many channels it may lose at most); KnobError for one that cannot."""
    graph = trace(model, input_shape) if layers else None
    for number, (written, most) in enumerate(layers):
        knob = f"prune_channels.{number}"
        path = find_layer(f"{knob}.layer", written, model)
        require(f"{knob}.layer", written, "must be a layer with filters", _has_filters(model, path))
        taken = any(mask.filters == path for mask, _, _ in _masks(model))
        require(f"{knob}.layer", written, "stands in the list already", not taken)
        channels = len(model.get_submodule(path).get_parameter("weight"))
        require(f"{knob}.prune_ns", most, f"must leave one of the {channels} channels", most < channels)
        owner = model.get_submodule(_owner(graph, model, path))
        mask = ChannelMask(number, path, channels).to(next(model.parameters()).device)
        for part in ("weight", "bias"):
            if getattr(owner, part, None) is not None:
                parametrize.register_parametrization(owner, part, mask)


@torch.no_grad()
def choose(model: nn.Module, number: int, gone: int) -> None:
    """Mask the ``gone`` filters of least norm, chosen anew where the number changes: one that was masked may come back."""
    mask = next(m for m, _, _ in _masks(model) if m.number == number)
    if gone == int((~mask.keep).sum()):
        return
    layer: Any = model.get_submodule(mask.filters)
    values = layer.parametrizations.weight.original if parametrize.is_parametrized(layer, "weight") else layer.weight
    norms = values.flatten(1).norm(dim=1)
    mask.keep.fill_(True)
    mask.keep[torch.sort(norms, stable=True).indices[:gone]] = False


def masked(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and values, zeros included, of all tensors under a mask."""
    for _, name, part in _masks(model):
        yield f"{name}.{part}".lstrip("."), getattr(model.get_submodule(name), part)


def _masks(model: nn.Module) -> Iterator[tuple[ChannelMask, str, str]]:
    for name, module in model.named_modules():
        for part in ("weight", "bias"):
            if parametrize.is_parametrized(module, part):
                stacks: Any = module.parametrizations
                mask = stacks[part][0]
                if isinstance(mask, ChannelMask):
                    yield mask, name, part


def _has_filters(model: nn.Module, path: str) -> bool:
    module = model.get_submodule(path)
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.dim() > 1 and output_axis(module) == 0


def _owner(graph: Graph | None, model: nn.Module, path: str) -> str:
    """The batch norm behind a layer, else the layer itself."""
    norms = [norm.name for norm in graph.norms() if norm.filters == path] if graph is not None else []
    affine = [name for name in norms if model.get_submodule(name).weight is not None]
    return affine[0] if len(norms) == 1 and affine else path
