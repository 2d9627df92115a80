"""Entropy-penalised reparametrisation: every weight a decoded integer, and the bits of the integers in the loss.

Formula: loss = task loss (nats) + lambda_RD · B / N, with N the original weights and B = -Σ log2 q(φ / s + u), u uniform noise in
[-1/2, 1/2), over all coded tensors; weights w = f(round(φ / s)), rounding with gradient 1. Latents φ, step sizes s, and the scales
of the priors q are trained together. f multiplies by s; for kernels it may go back from frequencies first (``reparam``).
Source: Oktay et al. 2020, "Scalable Model Compression by Entropy Penalized Reparameterization", arXiv 1906.06624.

lambda_RD grows from 0 over the first ``warm_up`` of the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compress.entropy import PRIORS
from compress.method import Batches, MainKnob, Method
from compress.metrics import original_weights
from compress.quantized import require, select_layers
from compress.reparam import AffineDecoder, ConvDecoder, Decoder, entropy_bits, latents, reparametrise
from compress.symbols import Symbols
from compress.transforms import TRANSFORMS

__all__ = ["Epr"]

_KERNELS = ("affine", *TRANSFORMS)
_SHARES = ("tensor", "layer", "kind")
_BY_ROWS = ("grid", "context")  # priors that know rows and columns


@dataclass(frozen=True, kw_only=True)
class Epr(Method):
    """``kernels``: convolutions are coded as they are (``affine``) or by ``identity``, ``dct`` or ``dft`` with a step a frequency.

    ``steps``: one step size a ``tensor``, or a ``channel`` (output). ``share``: step sizes and prior of a ``tensor``'s own, of
    a ``layer``, or of a ``kind`` (linear weights; kernels of one size; biases) in common.
    """

    main_knob: ClassVar[MainKnob] = MainKnob("lambda_RD", (0.1, 3.0, 30.0))

    lambda_RD: float = 3.0  # noqa: N815  the paper's and the field's name
    warm_up: float = 0.1
    prior: str = "context"
    kernels: str = "affine"
    steps: str = "tensor"
    share: str = "tensor"
    init_log_step: float = -4.0
    ema_decay: float = 0.0
    code_biases: bool = True
    exclude_layers: Sequence[str] = ()
    exclude_types: Sequence[str] = ()
    store: str = "int8"
    norms: str = "folded"
    norm_images: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        require("lambda_RD", self.lambda_RD, "must be a finite number from 0", 0 <= self.lambda_RD < math.inf)
        require("warm_up", self.warm_up, "must lie in [0, 1], a share of the epochs", 0 <= self.warm_up <= 1)
        require("ema_decay", self.ema_decay, "must lie in [0, 1)", 0 <= self.ema_decay < 1)
        require("init_log_step", self.init_log_step, "must be a finite number", math.isfinite(self.init_log_step))
        for name, allowed in (
            ("prior", tuple(PRIORS)),
            ("kernels", _KERNELS),
            ("steps", ("tensor", "channel")),
            ("share", _SHARES),
        ):
            require(name, getattr(self, name), f"must be one of {', '.join(allowed)}", getattr(self, name) in allowed)
        alone = self.steps == "channel" or self.prior in _BY_ROWS
        clash = (
            "must be tensor where steps = 'channel' or prior = 'grid' or 'context': "
            "rows of different tensors have nothing in common"
        )
        require("share", self.share, clash, not alone or self.share == "tensor")

    def prepare(self, model: nn.Module, batches: Batches) -> None:
        layers = select_layers(model, self.exclude_layers, self.exclude_types)
        require("exclude_layers", list(self.exclude_layers), "leaves no layer to code", bool(layers))
        weights = original_weights(model)
        shared: dict[str, tuple[Decoder, nn.Module]] = {}
        for layer, tensor in self._tensors(layers):
            weight = layers[layer].get_parameter(tensor)
            key = self._key(layer, tensor, weight)
            if key not in shared:
                decoder = self._decoder(weight)
                shared[key] = decoder, PRIORS[self.prior](weight.shape, decoder.channels)
                self._fit(*shared[key], weight)
            reparametrise(layers[layer], tensor, *shared[key], self.ema_decay)
        device = next(model.parameters()).device
        model.register_buffer("nats_a_bit", torch.zeros((), device=device))
        model.register_buffer("original_weights", torch.tensor(float(weights), device=device))

    def parameter_groups(self, model: nn.Module) -> dict[str, list[nn.Parameter]]:
        units = [unit for _, unit, _ in latents(model)]
        kinds = {id(p): "step" for unit in units for p in unit.decoder.parameters()}
        kinds |= {id(p): "prior" for unit in units for p in unit.prior.parameters()}
        groups: dict[str, list[nn.Parameter]] = {"base": [], "step": [], "prior": []}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups[kinds.get(id(parameter), "base")].append(parameter)
        return groups

    def penalty(self, model: nn.Module) -> Tensor:
        strength: Tensor = model.get_buffer("nats_a_bit")
        return strength * entropy_bits(model)

    def on_epoch(self, model: nn.Module, progress: float, batches: Batches) -> None:
        self.on_step(model, progress)

    def on_step(self, model: nn.Module, progress: float) -> None:
        ramp = min(progress / self.warm_up, 1.0) if self.warm_up else 1.0
        model.get_buffer("nats_a_bit").copy_(self.lambda_RD * ramp / model.get_buffer("original_weights"))

    def symbols(self, model: nn.Module) -> list[Symbols]:
        return [unit.symbols(name, latent) for name, unit, latent in latents(model)]

    @torch.no_grad()
    def measures(self, model: nn.Module) -> dict[str, float]:
        """``estimated_size``: bytes of the coded tensors by their priors; ``size`` is the file's."""
        return {"estimated_size": float(entropy_bits(model, noise=False)) / 8}

    def _tensors(self, layers: dict[str, nn.Module]) -> Iterator[tuple[str, str]]:
        for name, module in layers.items():
            yield name, "weight"
            if self.code_biases and isinstance(getattr(module, "bias", None), nn.Parameter):
                yield name, "bias"

    def _key(self, layer: str, tensor: str, weight: Tensor) -> str:
        """Tensors of one key have step sizes and prior in common."""
        if self.share == "kind":
            return "bias" if tensor == "bias" else f"kernels of {tuple(weight.shape[2:])}"
        by_frequency = weight.dim() > 2 and self.kernels != "affine"
        return layer if self.share == "layer" and not by_frequency else f"{layer}.{tensor}"

    def _decoder(self, weight: Tensor) -> Decoder:
        if weight.dim() > 2 and self.kernels != "affine":
            return ConvDecoder(tuple(weight.shape[2:]), self.kernels, self.init_log_step).to(weight.device)
        channels = len(weight) if self.steps == "channel" and weight.dim() > 1 else 1
        return AffineDecoder(channels, self.init_log_step).to(weight.device)

    @staticmethod
    @torch.no_grad()
    def _fit(decoder: Decoder, prior: nn.Module, weight: Tensor) -> None:
        """The prior begins with what the integers look like that it is first asked about."""
        index = decoder.index(decoder.latent(weight))
        prior.to(weight.device).fit(index)  # type: ignore[operator]
