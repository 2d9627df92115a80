"""A network as the steps its channels go through: traced once by ``torch.fx``, read by ``reach`` and ``shrink``.

A step is one operation; its *channels* are axis 1 of its output. What is not known here is *opaque*: it takes and gives all
channels, so that a network with strange parts loses less, and is never wrong.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

__all__ = ["Graph", "NormSite", "Step", "meta_twin", "trace"]

Shape = tuple[int, ...]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, *_DROPOUTS),
)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_KIND_OF_MODULE: dict[type, str] = {
    **dict.fromkeys(_CONVOLUTIONS, "conv"),
    **dict.fromkeys(_NORMS, "norm"),
    **dict.fromkeys(_POINTWISE, "pointwise"),
    **dict.fromkeys((*_MAXIMA, *_MEANS), "pool"),
    nn.Linear: "linear",
    nn.Flatten: "flatten",
}
_KIND_OF_FUNCTION: dict[Any, str] = {
    **dict.fromkeys((F.relu, torch.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish), "pointwise"),
    **dict.fromkeys((F.hardsigmoid, F.hardtanh, torch.sigmoid, F.sigmoid, torch.tanh, F.tanh, F.softplus), "pointwise"),
    **dict.fromkeys((F.dropout, F.dropout2d), "pointwise"),
    **dict.fromkeys((F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.mean), "pool"),
    **dict.fromkeys((operator.add, operator.iadd, torch.add), "add"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul), "mul"),
    **{torch.flatten: "flatten", torch.cat: "cat", F.pad: "pad", operator.getitem: "slice"},
}
_KIND_OF_METHOD = {
    **dict.fromkeys(("relu", "relu_", "sigmoid", "tanh", "contiguous", "clone"), "pointwise"),
    **{"mean": "pool", "add": "add", "add_": "add", "mul": "mul", "mul_": "mul"},
    **dict.fromkeys(("flatten", "view", "reshape"), "flatten"),
}


@dataclass(frozen=True)
class Step:
    """``inputs`` name the steps whose tensors it takes; ``channels`` is 0 where its output is no tensor with an axis 1."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    node: fx.Node
    channels: int
    module: nn.Module | None = None
    layer: str = ""  # the module's name in the network

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """A pointwise step, on numbers."""
        if self.module is not None:
            return torch.as_tensor(copy.copy(self.module).eval()(values))
        if self.node.op == "call_method":
            return torch.as_tensor(getattr(values, str(self.node.target))(*self.node.args[1:], **self.node.kwargs))
        function: Any = self.node.target
        kwargs = {k: v for k, v in self.node.kwargs.items() if k not in ("inplace", "training")}
        if function in (F.dropout, F.dropout2d):
            return values
        return torch.as_tensor(function(values, *self.node.args[1:], **kwargs))

    def operands(self) -> list[str | float]:
        """Of a sum, a product, or the parts of a concatenation: names of steps, and numbers."""
        given: Any = self.node.args[0] if self.kind == "cat" else self.node.args
        return [a.name if isinstance(a, fx.Node) else float(a) for a in given]

    def setting(self, name: str, place: int, default: Any = None) -> Any:
        """An argument of a function or method, by name or place."""
        args = self.node.args
        return self.node.kwargs.get(name, args[place] if len(args) > place else default)


@dataclass(frozen=True)
class NormSite:
    """A batch norm: ``filters`` names the layer in front, ``readers`` those behind; ``free``: it touches no residual add."""

    name: str
    filters: str | None
    readers: tuple[str, ...]
    free: bool


@dataclass(frozen=True)
class Graph:
    """``steps`` by name, in the order in which they are done."""

    network: nn.Module
    traced: fx.Graph
    steps: Mapping[str, Step]

    def norms(self) -> list[NormSite]:
        """All batch norms, in order."""
        return [self._site(step) for step in self.steps.values() if step.kind == "norm"]

    def _site(self, norm: Step) -> NormSite:
        before = self.steps[norm.inputs[0]]
        readers, free = [], True
        ahead = [norm.name]
        while ahead:
            name = ahead.pop()
            for step in [s for s in self.steps.values() if name in s.inputs and s.channels]:
                if step.kind in ("conv", "linear"):
                    readers.append(step.layer)
                elif step.kind in ("norm", "pointwise", "pool", "flatten", "slice"):
                    ahead.append(step.name)
                else:
                    free = False
        filters = before.layer if before.kind in ("conv", "linear") else None
        return NormSite(norm.layer, filters, tuple(dict.fromkeys(readers)), free)


def trace(network: nn.Module, input_shape: Sequence[int]) -> Graph | None:
    """The steps of a network for inputs (C, H, W); None where ``torch.fx`` cannot follow its forward."""
    try:
        traced = _Tracer().trace(network)
        _Shapes(fx.GraphModule(meta_twin(network), traced)).run(torch.empty(2, *input_shape, device="meta"))
    except Exception:  # whatever a forward does that cannot be traced, from control flow to shapes it asserts
        return None
    modules = dict(network.named_modules())
    often = _shared(network, traced, modules)
    steps: dict[str, Step] = {}
    for node in traced.nodes:
        steps[node.name] = _step(node, modules, often)
    return Graph(network, traced, steps)


class _Tracer(fx.Tracer):
    """Modules that say they are ``opaque`` are one step, whatever they do."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return bool(getattr(m, "opaque", False)) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of what each node gives."""

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if isinstance(result, torch.Tensor):
            node.meta["shape"] = tuple(result.shape)
        return result


def meta_twin(network: nn.Module) -> nn.Module:
    """A copy in float32 on the meta device; no number of the network is copied."""
    empty: dict[int, Any] = {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    empty |= {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()}
    return copy.deepcopy(network, empty).float().eval()


def _shared(network: nn.Module, traced: fx.Graph, modules: Mapping[str, nn.Module]) -> set[str]:
    """Layers that cannot be cut: called more than once, or holding a tensor that another holds too."""
    calls = [str(n.target) for n in traced.nodes if n.op == "call_module"]
    owners: dict[int, set[str]] = {}
    for name, tensor in network.named_parameters(remove_duplicate=False):
        owners.setdefault(id(tensor), set()).add(name.rpartition(".")[0])
    tied = {name for names in owners.values() if len(names) > 1 for name in names}
    again = {name for name in calls if sum(modules[name] is modules[other] for other in calls) > 1}
    read = {str(n.target).rpartition(".")[0] for n in traced.nodes if n.op == "get_attr"}
    return tied | again | read


def _step(node: fx.Node, modules: Mapping[str, nn.Module], shared: set[str]) -> Step:
    layer = str(node.target) if node.op == "call_module" else ""
    module = modules.get(layer) if layer else None
    shape = _shape(node)
    kind = _kind(node, module)
    if not _known(kind, node, module, shape) or (layer in shared and kind in ("conv", "linear", "norm")):
        kind = "opaque"
    channels = shape[1] if shape is not None and len(shape) > 1 else 0
    if kind not in ("output", "opaque") and not channels:
        kind = "number" if _reads_batch(node) else "opaque"
    return Step(node.name, kind, tuple(n.name for n in node.all_input_nodes), node, channels, module, layer)


def _kind(node: fx.Node, module: nn.Module | None) -> str:
    if node.op == "call_module":
        return _KIND_OF_MODULE.get(type(module), "opaque")
    if node.op == "call_function":
        return _KIND_OF_FUNCTION.get(node.target, "opaque")
    if node.op == "call_method":
        return _KIND_OF_METHOD.get(str(node.target), "number" if node.target == "size" else "opaque")
    return {"placeholder": "input", "output": "output"}.get(node.op, "opaque")


def _known(kind: str, node: fx.Node, module: nn.Module | None, shape: Shape | None) -> bool:
    """Whether this use of an operation is one whose channels can be followed."""
    if kind not in _CHECKS:
        return True
    given = [_shape(n) for n in node.all_input_nodes]
    return shape is not None and None not in given[:1] and _CHECKS[kind](node, module, shape, given)


def _layer(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Shape]) -> bool:
    return len(node.args) == 1 and (isinstance(module, _CONVOLUTIONS) or len(shape) == 2)


def _norm(node: fx.Node, module: Any, shape: Shape, given: list[Shape]) -> bool:
    return bool(module.affine and module.track_running_stats and len(given[0]) == len(shape))


def _pool(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Shape]) -> bool:
    if node.target in (torch.mean, "mean"):
        axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        axes = [axes] if isinstance(axes, int) else axes
        return isinstance(axes, (list, tuple)) and all(a % len(given[0]) > 1 for a in axes)
    return len(shape) == len(given[0])


def _sum(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Any]) -> bool:
    tensors = [a for a in node.args if isinstance(a, fx.Node)]
    alike = all(s is not None and len(s) == len(shape) and s[1] == shape[1] for s in given)
    numbers = all(isinstance(a, (int, float)) for a in node.args if not isinstance(a, fx.Node))
    return alike and numbers and not node.kwargs and len(tensors) == len(given) > 0


def _cat(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Any]) -> bool:
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    parts = node.args[0] if node.args else ()
    return axis in (1, 1 - len(shape)) and isinstance(parts, (list, tuple)) and len(parts) == len(given)


def _flatten(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Shape]) -> bool:
    return len(shape) == 2 and shape[0] == given[0][0] and shape[1] == math.prod(given[0][1:]) and given[0][1] > 0


def _pad(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Shape]) -> bool:
    mode, value = node.kwargs.get("mode", "constant"), node.kwargs.get("value", 0)
    plain = len(node.args) <= 2 and mode == "constant" and not value
    widths = node.kwargs.get("pad", node.args[1] if len(node.args) > 1 else None)
    whole = isinstance(widths, (list, tuple)) and all(isinstance(w, int) and w >= 0 for w in widths)
    return plain and whole and len(shape) == len(given[0]) and len(widths) <= 2 * len(shape) - 2  # type: ignore[arg-type]


def _slice(node: fx.Node, module: nn.Module | None, shape: Shape, given: list[Shape]) -> bool:
    cuts = node.args[1]
    whole = slice(None)
    return (
        isinstance(cuts, tuple) and all(isinstance(c, slice) for c in cuts) and cuts[:2] == (whole, whole)[: len(cuts)]
    )


_CHECKS: dict[str, Callable[..., bool]] = {
    **{"conv": _layer, "linear": _layer, "norm": _norm, "pool": _pool, "add": _sum, "mul": _sum},
    **{"cat": _cat, "flatten": _flatten, "pad": _pad, "slice": _slice},
}


def _reads_batch(node: fx.Node) -> bool:
    """Whether it is ``x.size(0)``, which no channel changes."""
    return node.target == "size" and tuple(node.args[1:]) == (0,)


def _shape(node: fx.Node) -> Shape | None:
    return node.meta.get("shape")
