"""What methods that quantise weights share: which layers take part, and one parametrization on each weight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from compress.method import Batches, KnobError, Method
from compress.quantizers import Quantizer
from compress.symbols import Symbols

__all__ = ["QuantizedMethod", "is_width", "quantized_weights", "require", "select_layers"]


def require(name: str, value: Any, rule: str, holds: bool) -> None:
    """KnobError ``name = value: rule`` unless the rule holds."""
    if not holds:
        raise KnobError(f"{name} = {value!r}: {rule}")


def select_layers(
    model: nn.Module, exclude_layers: Sequence[str], exclude_types: Sequence[str]
) -> dict[str, nn.Module]:
    """Modules by dotted name whose ``weight`` is quantised: a parameter of two axes or more, not excluded.

    A module is excluded where its name contains one of ``exclude_layers`` or its class, or a base class, is named in
    ``exclude_types``. One-dimensional weights (the scales of norms) are never quantised, whatever they are called.
    """
    chosen = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if not isinstance(weight, nn.Parameter) or weight.dim() < 2 or kinds & set(exclude_types):
            continue
        if not any(part in name for part in exclude_layers):
            chosen[name] = module
    return chosen


@dataclass(frozen=True, kw_only=True)
class QuantizedMethod(Method):
    """Knobs common to quantising methods.

    ``scale``: one step size a ``tensor`` or a ``channel``, the first axis of a weight (the output channel, but of
    transposed convolutions). ``statistic``: R is the ``quantile`` of |w| or its
    ``max``. ``layer_bits``: fixed widths for layers by pattern, ``[{layers: "conv1", bits: 8}]``; the first that fits.
    """

    exclude_layers: Sequence[str] = ()
    exclude_types: Sequence[str] = ()
    layer_bits: Sequence[Mapping[str, Any]] = ()
    scale: str = "tensor"
    statistic: str = "max"
    quantile: float = 0.99
    store: str = "int8"
    norms: str = "folded"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("scale", self.scale, "must be tensor or channel", self.scale in ("tensor", "channel"))
        require("statistic", self.statistic, "must be quantile or max", self.statistic in ("quantile", "max"))
        require("quantile", self.quantile, "must lie in (0, 1]", 0 < self.quantile <= 1)
        for name in ("exclude_layers", "exclude_types"):
            require(name, getattr(self, name), "must be a list of names", not isinstance(getattr(self, name), str))
        for entry in self.layer_bits:
            require(
                "layer_bits", dict(entry), "an entry has the keys layers and bits", set(entry) == {"layers", "bits"}
            )
            require("layer_bits", dict(entry), "layers must be a pattern of names", isinstance(entry["layers"], str))
            require("layer_bits", dict(entry), "bits must be a whole number from 2 to 16", is_width(entry["bits"]))

    @abstractmethod
    def quantizer(self, bits: int | None) -> nn.Module:
        """The parametrization of one weight; ``bits`` is its width from ``layer_bits``, None where no pattern fits."""

    def prepare(self, model: nn.Module, batches: Batches) -> None:
        layers = select_layers(model, self.exclude_layers, self.exclude_types)
        require("exclude_layers", list(self.exclude_layers), "leaves no layer to quantise", bool(layers))
        for entry in self.layer_bits:
            fits = any(fnmatchcase(name, entry["layers"]) for name in layers)
            require("layer_bits", entry["layers"], f"fits no layer; they are {', '.join(layers)}", fits)
        for name, module in layers.items():
            weight = module.get_parameter("weight")
            quantizer = self.quantizer(self._fixed_bits(name)).to(weight.device)
            parametrize.register_parametrization(module, "weight", quantizer)

    def symbols(self, model: nn.Module) -> list[Symbols]:
        return [q.symbols(f"{name}.weight".lstrip("."), w) for name, q, w in quantized_weights(model)]

    def scale_options(self) -> dict[str, Any]:
        """Arguments of ``absolute_scale``."""
        return {"statistic": self.statistic, "quantile": self.quantile, "per_channel": self.scale == "channel"}

    def _fixed_bits(self, layer: str) -> int | None:
        return next((e["bits"] for e in self.layer_bits if fnmatchcase(layer, e["layers"])), None)


def quantized_weights(model: nn.Module) -> Iterator[tuple[str, Quantizer, nn.Parameter]]:
    """(layer name, quantizer, soft weight) of every quantised layer, under each of its names."""
    for name, module in model.named_modules(remove_duplicate=False):
        if parametrize.is_parametrized(module, "weight"):
            stack: Any = module.parametrizations
            quantizer = stack.weight[0]
            if isinstance(quantizer, Quantizer):
                yield name, quantizer, stack.weight.original


def is_width(bits: Any) -> bool:
    """Whether ``bits`` is a width that quantizers take."""
    return type(bits) is int and 2 <= bits <= 16
