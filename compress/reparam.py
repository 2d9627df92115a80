"""Weights as decoded integers: parameter decoders, and layers made of them.

Formula (Oktay et al. 2020, arXiv 1906.06624): w = f(q), q = round(φ / s), φ the latent, in the units of weights, s > 0 the step
size; f multiplies by the steps and, for kernels, goes back from frequencies: w = Tᵀ (s · q), T orthonormal over the taps. The
step size is exp(log_step) and is trained; rounding has the gradient of the identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.entropy import LogisticPrior, with_noise
from compress.surrogates import round_through
from compress.symbols import Symbols, weight_bits
from compress.transforms import TRANSFORMS

__all__ = [
    "AffineDecoder",
    "ConvDecoder",
    "EntropyConv2d",
    "EntropyLinear",
    "Latent",
    "entropy_bits",
    "latents",
    "reparametrise",
]


class AffineDecoder(nn.Module):
    """w = s q with one step size, or with ``l`` of them, one for each output (the first axis of a weight)."""

    def __init__(self, l: int = 1, log_step: float = -4.0) -> None:  # noqa: E741  the paper's own name
        super().__init__()
        self.log_step = nn.Parameter(torch.full((l,), float(log_step)))

    @property
    def channels(self) -> int:
        """Channels of the prior that fits: the integers are of one kind."""
        return 1

    def index(self, latent: Tensor) -> Tensor:
        """Integers before rounding, of the latent's shape."""
        return latent / self._step(latent)

    def forward(self, index: Tensor) -> Tensor:
        """Weights."""
        return index * self._step(index)

    def latent(self, weight: Tensor) -> Tensor:
        """Where ``weight`` comes from."""
        return weight.clone()

    def symbols(self, name: str, index: Tensor) -> Symbols:
        """The tensor as its file decodes it; ``index`` is rounded."""
        integers, steps = _integers(index), self.log_step.detach().exp().cpu().numpy()
        return Symbols(name, integers, "uniform", {"step": steps}, weight_bits(integers))

    def _step(self, like: Tensor) -> Tensor:
        step = self.log_step.exp()
        return step.reshape((-1,) + (1,) * (like.dim() - 1)) if len(step) > 1 else step


class ConvDecoder(nn.Module):
    """Kernels by frequency: w = Tᵀ (s q), a step size and a channel of the prior for each frequency.

    ``transform``: ``dct``, ``dft`` (packed: real, orthonormal, no number twice) or ``identity``, over the taps.
    """

    def __init__(self, kernel_size: int | Sequence[int], transform: str = "dct", log_step: float = -4.0) -> None:
        super().__init__()
        self.kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.transform = transform
        self.log_step = nn.Parameter(torch.full((math.prod(self.kernel),), float(log_step)))
        self.register_buffer("matrix", torch.from_numpy(TRANSFORMS[transform](self.kernel)), persistent=False)
        self.matrix: Tensor

    @property
    def channels(self) -> int:
        """Frequencies."""
        return len(self.log_step)

    def index(self, latent: Tensor) -> Tensor:
        """Integers before rounding: (O, I, *kernel), frequencies in the place of taps."""
        return (latent.flatten(2) / self.log_step.exp()).reshape(latent.shape)

    def forward(self, index: Tensor) -> Tensor:
        """Weights (O, I, *kernel)."""
        return ((index.flatten(2) * self.log_step.exp()) @ self.matrix).reshape(index.shape)

    def latent(self, weight: Tensor) -> Tensor:
        """Frequencies of ``weight``."""
        return (weight.flatten(2) @ self.matrix.t()).reshape(weight.shape)

    def symbols(self, name: str, index: Tensor) -> Symbols:
        """As :meth:`AffineDecoder.symbols`; weights that come back from frequencies are floats of 32 bits."""
        integers, steps = _integers(index), self.log_step.detach().exp().cpu().numpy()
        bits = weight_bits(integers) if self.transform == "identity" else 32.0
        return Symbols(name, integers, self.transform, {"step": steps}, bits)


Decoder: TypeAlias = AffineDecoder | ConvDecoder


class Latent(nn.Module):
    """A parametrization: the latent becomes the hard weight, and knows what its integers cost.

    ``ema_decay`` d > 0: evaluation and the file take round(ema / s), and each training forward ema ← d ema + (1 - d) φ.
    """

    def __init__(self, decoder: Decoder, prior: nn.Module, ema_decay: float = 0.0) -> None:
        super().__init__()
        self.decoder, self.prior, self.ema_decay = decoder, prior, ema_decay
        self.ema: Tensor | None
        self.register_buffer("ema", None)

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        """The latent of ``weight``; its average begins there."""
        latent = self.decoder.latent(weight.detach())
        if self.ema_decay:
            self.ema = latent.clone()
        return latent

    def forward(self, latent: Tensor) -> Tensor:
        if self.training and self.ema is not None and torch.is_grad_enabled():
            self.ema.lerp_(latent.detach(), 1 - self.ema_decay)
        return self.decoder(round_through(self.decoder.index(latent if self.training else self._kept(latent))))

    def bits(self, latent: Tensor, noise: bool = True) -> Tensor:
        """Bits of the whole tensor, a scalar: under noise as in training, or of the integers that are shipped."""
        index = self.decoder.index(latent if noise else self._kept(latent))
        if not noise:
            index = index.round()
        elif not getattr(self.prior, "rounds", False):
            index = with_noise(index)
        bits: Tensor = self.prior(index)
        return bits

    @torch.no_grad()
    def symbols(self, name: str, latent: Tensor) -> Symbols:
        """What is shipped."""
        return self.decoder.symbols(name, self.decoder.index(self._kept(latent)).round())

    def _kept(self, latent: Tensor) -> Tensor:
        return latent if self.ema is None else self.ema


def reparametrise(
    layer: nn.Module, tensor: str, decoder: Decoder, prior: nn.Module | None = None, ema_decay: float = 0.0
) -> None:
    """Make ``layer.<tensor>`` a decoded one; the prior begins with what the tensor's integers look like."""
    weight = layer.get_parameter(tensor)
    if prior is None:
        prior = LogisticPrior(decoder.channels)
        prior.fit(decoder.index(decoder.latent(weight.detach())))
    parametrize.register_parametrization(layer, tensor, Latent(decoder, prior, ema_decay).to(weight.device))


def latents(model: nn.Module) -> Iterator[tuple[str, Latent, nn.Parameter]]:
    """(name of the tensor, its parametrization, its latent) of all that is decoded, under each of its names."""
    for name, module in model.named_modules(remove_duplicate=False):
        if parametrize.is_parametrized(module):
            stacks: Any = module.parametrizations
            for tensor, stack in stacks.items():
                if isinstance(stack[0], Latent):
                    yield f"{name}.{tensor}".lstrip("."), stack[0], stack.original


def entropy_bits(model: nn.Module, noise: bool = True) -> Tensor:
    """Bits of all decoded tensors by their priors, a scalar; a tensor under two names counts once."""
    found = {id(latent): unit.bits(latent, noise) for _, unit, latent in latents(model)}
    return torch.stack([*found.values()]).sum() if found else torch.zeros(())


class EntropyLinear(nn.Linear):
    """A linear layer of decoded weights (out_features, in_features); without ``bias_decoder`` the bias stays as it is.

    Train with ``loss + lambda_RD * entropy_bits(model) / weights``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weight_decoder: Decoder,
        bias_decoder: Decoder | None = None,
        ema_decay: float = 0.999,
    ) -> None:
        super().__init__(in_features, out_features)
        _decode(self, weight_decoder, bias_decoder, ema_decay)


class EntropyConv2d(nn.Conv2d):
    """A convolution of decoded kernels (out_features, in_features, *kernel_size); else as :class:`EntropyLinear`."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        in_features: int,
        out_features: int,
        weight_decoder: Decoder,
        padding: int = 0,
        stride: int = 1,
        bias_decoder: Decoder | None = None,
        ema_decay: float = 0.999,
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride=stride, padding=padding)
        _decode(self, weight_decoder, bias_decoder, ema_decay)


def _decode(layer: nn.Module, weight: Decoder, bias: Decoder | None, ema_decay: float) -> None:
    for tensor, decoder in (("weight", weight), ("bias", bias)):
        if decoder is not None:
            reparametrise(layer, tensor, decoder, ema_decay=ema_decay)


def _integers(index: Tensor) -> NDArray[np.int32]:
    return index.detach().to(torch.int32).cpu().numpy()
