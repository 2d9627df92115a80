"""A trained network made ready to be run: the same outputs but for rounding, sooner.

Norms are folded into the convolutions before them: a (W * x + b) + c = (a W) * x + (a b + c), a and c a norm's slope and shift.
Channels lie last, and oneDNN computes ``lanes`` output channels together, so that fewer cost as much: a convolution with fewer, C,
is written as one of p C channels and p times the stride along rows, whose q-th C channels are the kernel moved q pixels on.
What it gives, (N, H, W / p, p C) in memory, is (N, H, W, C) there: nothing is copied, and only zeros are added to sums.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compress.graph import Graph, Step, trace
from compress.shrink import overwrite

__all__ = ["for_inference"]

_LANES = {"AVX512": 16, "AVX2": 8}
_PIXELS = (1, 2, 4, 8)


class SeveralPixels(nn.Module):
    """``convolution`` of (N, C, H, ``width``), ``pixels`` of a row at once."""

    opaque = True  # one step of a traced network

    def __init__(self, convolution: nn.Conv2d, pixels: int, width: int) -> None:
        super().__init__()
        self.pixels, self.width = pixels, width
        self.stride = (convolution.stride[0], pixels * convolution.stride[1])
        self.padding = convolution.padding
        move, weight = convolution.stride[1], convolution.weight.detach()
        reach = weight.shape[3] + (pixels - 1) * move
        moved = [F.pad(weight, (q * move, reach - weight.shape[3] - q * move)) for q in range(pixels)]
        self.weight = nn.Parameter(torch.cat(moved))
        bias = convolution.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat(pixels))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[3] != self.width:
            raise ValueError(f"inputs {x.shape[3]} wide: this layer was made ready for {self.width}")
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding).movedim(1, -1)
        count, rows, columns, channels = y.shape
        return y.reshape(count, rows, columns * self.pixels, channels // self.pixels).movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"{self.pixels} pixels at once, weight {tuple(self.weight.shape)}, stride {self.stride}"


def for_inference(network: nn.Module, input_shape: Sequence[int], lanes: int | None = None) -> nn.Module:
    """A copy in evaluation mode for inputs (N, *input_shape) and none of another size; it is not to be trained or stored.

    Made for a CPU; ``lanes``: floats that it computes together, found out where None. A network that ``torch.fx`` cannot follow
    keeps its layers, with their channels last.
    """
    lanes = lanes or _LANES.get(torch.backends.cpu.get_cpu_capability(), 4)
    made = copy.deepcopy(network).eval()
    graph = trace(made, input_shape)
    if graph is not None:
        made = _rewritten(graph, lanes)
    for layer in made.requires_grad_(False).modules():
        if isinstance(layer, (nn.Conv2d, SeveralPixels)):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return made


def _rewritten(graph: Graph, lanes: int) -> fx.GraphModule:
    made = fx.GraphModule(graph.network, graph.traced, type(graph.network).__name__)
    for step in graph.steps.values():
        if step.kind == "norm" and _folds(graph, step):
            _fold(made, step, graph.steps[step.inputs[0]])
    overwrite(made)
    for step in graph.steps.values():
        if step.kind == "conv" and type(step.module) is nn.Conv2d:
            convolution: Any = made.get_submodule(step.layer)
            given, gives = (node.meta["shape"][3] for node in (step.node.all_input_nodes[0], step.node))
            if (pixels := _pixels(convolution, gives, lanes)) > 1:
                made.set_submodule(step.layer, SeveralPixels(convolution, pixels, given))
    _add_in_place(made)
    made.delete_all_unused_submodules()
    made.recompile()
    return made


def _add_in_place(made: fx.GraphModule) -> None:
    """Sums are written over a convolution's output that nobody else reads: a tensor less to fetch from the system."""
    for node in [node for node in made.graph.nodes if node.target is operator.add]:
        pair = [one for one in node.args if isinstance(one, fx.Node)]
        if len({one.meta.get("shape") for one in pair}) != 1 or len(set(pair)) != 2:
            continue
        for over, other in (pair, pair[::-1]):
            layer = made.get_submodule(str(over.target)) if over.op == "call_module" else None
            if len(over.users) == 1 and isinstance(layer, (nn.Conv2d, SeveralPixels)):
                with made.graph.inserting_before(node):
                    node.replace_all_uses_with(made.graph.call_method("add_", (over, other)))
                made.graph.erase_node(node)
                break


def _folds(graph: Graph, norm: Step) -> bool:
    """Whether what it reads is a convolution's output that nobody else reads."""
    before = graph.steps[norm.inputs[0]]
    return before.kind == "conv" and len(before.node.users) == 1


def _fold(made: fx.GraphModule, norm: Step, before: Step) -> None:
    layers: list[Any] = [made.get_submodule(step.layer) for step in (before, norm)]
    made.set_submodule(before.layer, fuse_conv_bn_eval(*layers))
    norm.node.replace_all_uses_with(before.node)
    made.graph.erase_node(norm.node)


def _pixels(convolution: nn.Conv2d, width: int, lanes: int) -> int:
    """How many of a row are cheapest at once: multiplications a pixel, with all lanes paid for."""
    plain = convolution.groups == 1 and convolution.dilation == (1, 1) and convolution.padding_mode == "zeros"
    if not plain or isinstance(convolution.padding, str):
        return 1

    def cost(pixels: int) -> float:
        blocks = -(-pixels * convolution.out_channels // lanes)
        return blocks * (convolution.kernel_size[1] + (pixels - 1) * convolution.stride[1]) / pixels

    return min((p for p in _PIXELS if width % p == 0), key=cost)
