"""Channels that really leave: from a network with zeros to a smaller one with the same outputs.

``reach`` says which channels stay; here layers are cut to them and the traced graph is written anew. A step whose reader wants
fewer channels is gathered; operands of an addition that have different channels become an indexed addition
(out[:, i] += a, out[:, j] += b), so that no mask is illegal. Idea: Tessier et al. 2022, "Leveraging structured pruning of
convolutional neural networks", arXiv 2206.06247; there the channels are found by running floats through a mock network.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from compress.constants import Bools, channel_padding
from compress.graph import Graph, Step, trace
from compress.indexed import IndexedAdd, Select
from compress.reach import Kept, Reach, reach

__all__ = ["IndexedAdd", "Select", "overwrite", "shrink", "shrink_traced"]


def shrink(network: nn.Module, input_shape: Sequence[int], fold: bool = True) -> nn.Module:
    """The smaller network for inputs (C, H, W), in evaluation mode; ``network`` itself where nothing leaves or it is not traceable.

    ``fold``: channels that are one number wherever they are leave too, as a bias of their readers.
    """
    graph = trace(network, input_shape)
    if graph is None:
        return network
    state = {name: v.detach().cpu().numpy() for name, v in network.state_dict().items()}
    found = reach(graph, state, fold)
    return network if found.whole else shrink_traced(graph, found)


def shrink_traced(graph: Graph, found: Reach) -> nn.Module:
    """Write the network that has what ``found`` says is left."""
    return _Writer(graph, found).write()


# an operand may be another step's output by now, which is not to be written over
_PURE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    "add_": "add",
    "mul_": "mul",
    "relu_": "relu",
}


_FRESH = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, IndexedAdd)


def _pure(module: Any) -> Any:
    """The module, or where it works in place one like it that does not."""
    if not getattr(module, "inplace", False):
        return module
    twin = copy.copy(module)
    twin.inplace = False
    return twin


class _Writer:
    def __init__(self, graph: Graph, found: Reach) -> None:
        self.graph, self.found = graph, found
        self.modules: dict[str, Any] = {}
        self.traced = fx.Graph()
        self.made: dict[str, fx.Node] = {}  # by the name of the step it stands for
        self.has: dict[str, Bools] = {}  # channels that it holds
        self.selected: dict[tuple[str, bytes], fx.Node] = {}

    def write(self) -> nn.Module:
        for step in self.graph.steps.values():
            if step.kind == "output" or not step.channels or self.found.wanted[step.name].any() or step.kind == "input":
                self._write(step)
        network = fx.GraphModule(self.modules, self.traced, type(self.graph.network).__name__)
        network.graph.eliminate_dead_code()
        overwrite(network)
        network.delete_all_unused_submodules()
        network.recompile()
        return network.eval()

    def _write(self, step: Step) -> None:
        wanted = self.found.wanted[step.name]
        write = getattr(self, f"_write_{step.kind}", self._write_same)
        made = write(step, wanted)
        if made is not None:
            self.made[step.name], self.has[step.name] = made, wanted

    def _write_same(self, step: Step, wanted: Bools) -> fx.Node:
        """The step as it is, on the channels that are wanted of it."""
        return self._copy(step, {step.inputs[0]: self._of(step.inputs[0], wanted)})

    def _write_input(self, step: Step, wanted: Bools) -> fx.Node:
        wanted[:] = True
        return self.traced.node_copy(step.node)

    def _write_number(self, step: Step, wanted: Bools) -> fx.Node | None:
        gone = [n for n in step.inputs if n not in self.made]
        return None if gone else self._copy(step, {})

    def _write_opaque(self, step: Step, wanted: Bools) -> fx.Node:
        wanted[:] = True
        return self._copy(step, {n: self._of(n, np.ones_like(self.found.wanted[n])) for n in step.inputs})

    _write_output = _write_opaque

    def _write_conv(self, step: Step, wanted: Bools) -> fx.Node:
        kept = self.found.layers[step.layer]
        assert kept.columns is not None
        layer = _cut(step.module, kept)
        return self._copy(step, {step.inputs[0]: self._of(step.inputs[0], kept.columns)}, layer)

    _write_linear = _write_conv

    def _write_norm(self, step: Step, wanted: Bools) -> fx.Node:
        return self._copy(step, {step.inputs[0]: self._of(step.inputs[0], wanted)}, _cut(step.module, Kept(wanted)))

    def _write_add(self, step: Step, wanted: Bools) -> fx.Node:
        names = [n for n in step.inputs if (self._held(n) & wanted).any()]
        if len(step.inputs) == 1:
            return self._write_same(step, wanted)
        if len(names) == 1:
            return self._of(names[0], wanted)
        parts: list[Bools] = [np.logical_and(self._held(n), wanted) for n in names]
        if all((part == wanted).all() for part in parts):
            return self._copy(step, {n: self._of(n, wanted) for n in names})
        places = [None if (p == wanted).all() else np.flatnonzero(p[wanted]) for p in parts]
        added = IndexedAdd(places[0], places[1], int(wanted.sum()))
        return self._call(f"{step.name}_indexed", added, *(self._of(n, p) for n, p in zip(names, parts, strict=True)))

    def _write_mul(self, step: Step, wanted: Bools) -> fx.Node:
        return self._copy(step, {n: self._of(n, wanted) for n in step.inputs})

    def _write_cat(self, step: Step, wanted: Bools) -> fx.Node:
        parts, at = [], 0
        for name in map(str, step.operands()):
            cut = wanted[at : at + len(self.found.wanted[name])]
            at += len(cut)
            parts += [self._of(name, cut)] if cut.any() else []
        return self.traced.call_function(torch.cat, (parts, 1))

    def _write_flatten(self, step: Step, wanted: Bools) -> fx.Node:
        name = step.inputs[0]
        channels: Bools = np.any(wanted.reshape(len(self.found.wanted[name]), -1), axis=1)
        if step.node.op == "call_method":  # a view that may say the old size
            return self.traced.call_function(torch.flatten, (self._of(name, channels), 1))
        return self._copy(step, {name: self._of(name, channels)})

    def _write_pad(self, step: Step, wanted: Bools) -> fx.Node:
        name = step.inputs[0]
        start, around = channel_padding(step)
        inner = wanted[start : start + len(self.found.wanted[name])]
        rest = wanted.copy()
        rest[start : start + len(inner)] = False
        wanted &= ~rest  # zeros are nobody's to hold
        source = self._of(name, inner)
        place = 2 * (len(step.node.meta["shape"]) - 2)
        widths = list(step.setting("pad", 1))[:place]
        return self.traced.call_function(nn.functional.pad, (source, widths)) if around else source

    # parts

    def _held(self, name: str) -> Bools:
        return self.has[name] if name in self.has else np.zeros_like(self.found.wanted[name])

    def _of(self, name: str, channels: Bools) -> fx.Node:
        """A step's output with these channels, zeros where it has none."""
        if not len(channels) or (self.has[name] == channels).all():
            return self.made[name]
        key = (name, channels.tobytes())
        if key not in self.selected:
            self.selected[key] = self._selected(name, channels)
        return self.selected[key]

    def _selected(self, name: str, channels: Bools) -> fx.Node:
        held, node = self.has[name], self.made[name]
        shared = held & channels
        if (shared != held).any():
            node = self._call(f"{name}_some_{len(self.selected)}", Select(np.flatnonzero(shared[held])), node)
        if (shared != channels).any():
            node = self._call(
                f"{name}_among_{len(self.selected)}",
                Select(np.flatnonzero(shared[channels]), int(channels.sum())),
                node,
            )
        return node

    def _call(self, name: str, module: nn.Module, *args: fx.Node) -> fx.Node:
        self.modules[name] = module
        return self.traced.call_module(name, args)

    def _copy(self, step: Step, given: Mapping[str, fx.Node], module: nn.Module | None = None) -> fx.Node:
        """The step's node with other inputs, and another module where one is given."""
        node = step.node
        if node.op == "call_module":
            self.modules[step.layer] = module or _pure(step.module)
        elif node.op == "get_attr":
            self.modules[str(node.target)] = _attribute(self.graph.network, str(node.target))
        made = self.traced.node_copy(node, lambda old: given.get(old.name) or self.made[old.name])
        made.target = _PURE.get(made.target, made.target)
        if "inplace" in made.kwargs:
            made.kwargs = {**made.kwargs, "inplace": False}
        return made


def overwrite(network: fx.GraphModule) -> None:
    """ReLUs in place, of what nobody else reads: a tensor less to fetch from the system."""
    calls: dict[str, list[fx.Node]] = {}
    for node in network.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
        elif node.target in (F.relu, F.relu6) and _is_fresh(network, node.all_input_nodes[0]):
            node.kwargs = {**node.kwargs, "inplace": True}
    for name, nodes in calls.items():
        module: Any = network.get_submodule(name)
        if type(module) in (nn.ReLU, nn.ReLU6) and all(_is_fresh(network, n.all_input_nodes[0]) for n in nodes):
            twin = copy.copy(module)
            twin.inplace = True
            network.set_submodule(name, twin)


def _is_fresh(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's tensor is its own, has one reader, and is not needed to train what made it."""
    if len(node.users) > 1:
        return False
    if node.op == "call_module":
        return type(network.get_submodule(str(node.target))) in _FRESH
    return node.target is operator.add


def _attribute(network: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(network.get_submodule(owner), name)


def _cut(module: Any, kept: Kept) -> nn.Module:
    """A layer of the rows and columns that stay."""
    rows = torch.from_numpy(np.flatnonzero(kept.rows)).to(module.weight.device)
    if kept.columns is None:
        fresh = nn.utils.skip_init(type(module), len(rows), module.eps, module.momentum, device=module.weight.device)
        names = ["weight", "bias", "running_mean", "running_var"]
    else:
        fresh, names = _resized(module, kept), ["weight", "bias"]
    fresh.to(module.weight.dtype)
    with torch.no_grad():
        for name in names:
            old, new = getattr(module, name), getattr(fresh, name)
            if new is not None:
                values = torch.zeros(len(kept.rows)).to(new) if old is None else old.detach()
                if name == "bias" and kept.bias is not None:
                    values = values + torch.from_numpy(kept.bias).to(new)
                if name == "weight" and kept.columns is not None and getattr(module, "groups", 1) == 1:
                    values = values[:, torch.from_numpy(np.flatnonzero(kept.columns)).to(values.device)]
                new.copy_(values[rows])
    return fresh


def _resized(module: Any, kept: Kept) -> Any:
    """A convolution or linear layer of the new size, its numbers not yet set."""
    assert kept.columns is not None
    sizes = int(kept.columns.sum()), int(kept.rows.sum())
    options = {"bias": module.bias is not None or kept.bias is not None, "device": module.weight.device}
    if isinstance(module, nn.Linear):
        return nn.utils.skip_init(nn.Linear, *sizes, **options)
    groups = module.groups * sizes[0] // module.in_channels if module.groups > 1 else 1
    options |= {n: getattr(module, n) for n in ("stride", "padding", "dilation", "padding_mode")}
    return nn.utils.skip_init(type(module), *sizes, module.kernel_size, groups=groups, **options)
