"""A network divided between a device and a server: the device sends codewords, as symbols over a noisy channel.

Formula: loss = Σ_c [task loss (codebook c) + β_c(progress) · H_c] + clean_weight · task loss (no codebook), H_c the marginal
entropy H(mean p), which is the rate, or the conditional one, mean H(p), in nats a vector (``codebooks``).
Source: Xie et al. 2023, "Robust Information Bottleneck for Task-Oriented Communication with Digital Modulation", arXiv 2209.10382;
with codewords that are pruned and an entropy in place of its bound, JTCC4DI and PhyDistInf.

``sent_bits_fixed``: vectors x log2 of the living codewords. ``sent_bits_coded``: bytes x 8 of one entropy-coded index map, mean over
the first 250 validation pictures (``coded_images``; some 3 ms each); on a link without errors, since one wrong symbol spoils the rest. Accuracy is that of fixed length over the channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from compress.channel import LEAST_PSNR, MODULATIONS, MOST_PSNR, Link
from compress.codebooks import SCORES, Shape, attach, channel_axis, described, use
from compress.halves import coded_bits, device_half, working_codebook
from compress.masks import choose, insert_masks, masked
from compress.method import Batches, MainKnob, Method
from compress.metrics import count_macs, original_weights
from compress.norms import folded_norms
from compress.quantized import require
from compress.split_knobs import ChannelEntry, CodebookEntry, in_shares, read_beta
from compress.splits import AUTO, find_layer, halfway, is_cut
from compress.storing import stored
from compress.symbols import Symbols
from compress.training_codebooks import ENTROPIES, TrainingCodebook, sampled, streamed, training_codebooks, working

__all__ = ["Codebook"]

_IMAGES = 8
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Codebook(Method):
    """``codebooks``: a list; each entry has ``layer`` (or ``auto``), ``hidden_dim`` (absent: the layer's channels), ``codebook_size``,
    ``beta`` (absent: that of all), ``prune_epochs`` and ``prune_ns`` (dropped at each event, adding up). They are alternatives of
    one network; ``active`` is the one that is measured. ``prune_channels``: entries of ``layer``, ``prune_epochs``, ``prune_ns`` (gone after each event).

    Epochs are shares of the budget; a space may give whole numbers. ``start_images`` train k-means, ``count_images`` decide which
    codewords are rare, ``coded_images`` of validation are coded.
    """

    main_knob: ClassVar[MainKnob] = MainKnob(
        "codebooks",
        (
            [{"layer": AUTO, "codebook_size": 16}],
            [{"layer": AUTO, "codebook_size": 8}],
            [{"layer": AUTO, "codebook_size": 4}],
        ),
        moves="sent_bits_coded",
    )
    objectives: ClassVar[tuple[str, ...]] = ("sent_bits_fixed", "sent_bits_coded", "gops_device")

    codebooks: Sequence[Mapping[str, Any]] = ({"layer": AUTO},)
    active: int = 0
    beta: float | str = 1e-3
    entropy: str = "marginal"
    PSNR: float = 20.0
    modulation: str = "psk"
    scores: str = "distance"
    tau: float = 0.5
    indecision: float = 0.3
    clean_weight: float = 0.0
    prune_channels: Sequence[Mapping[str, Any]] = ()
    start_images: int = 1000
    count_images: int = 5000
    coded_images: int = 250
    store: str = "int8"
    norms: str = "folded"
    norm_images: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("entropy", ENTROPIES), ("modulation", tuple(MODULATIONS)), ("scores", SCORES)):
            require(name, getattr(self, name), f"must be one of {', '.join(allowed)}", getattr(self, name) in allowed)
        sound = LEAST_PSNR <= self.PSNR <= MOST_PSNR
        require("PSNR", self.PSNR, f"must lie in [{LEAST_PSNR:g}, {MOST_PSNR:g}] dB", sound)
        require("tau", self.tau, "must be a finite number above 0", 0 < self.tau < math.inf)
        for name in ("clean_weight", "indecision"):
            value = getattr(self, name)
            require(name, value, "must be a finite number from 0", 0 <= value < math.inf)
        for name in ("start_images", "count_images", "coded_images"):
            require(name, getattr(self, name), "must be a whole number from 1", getattr(self, name) >= 1)
        read_beta("beta", self.beta)
        require("codebooks", list(self.codebooks), "must name one layer at least", bool(self.codebooks))
        inside = 0 <= self.active < len(self.codebooks)
        require("active", self.active, f"must be the number of a codebook, from 0 to {len(self.codebooks) - 1}", inside)
        self._entries, self._channels  # noqa: B018  read once, to find mistakes

    @property
    def _entries(self) -> list[CodebookEntry]:
        return [CodebookEntry.read(f"codebooks.{n}", plain, self.beta) for n, plain in enumerate(self.codebooks)]

    @property
    def _channels(self) -> list[ChannelEntry]:
        return [ChannelEntry.read(f"prune_channels.{n}", plain) for n, plain in enumerate(self.prune_channels)]

    @classmethod
    def in_progress(cls, knobs: Mapping[str, Any], epochs: int) -> dict[str, Any]:
        return {**knobs, **{n: in_shares(knobs[n], epochs) for n in ("codebooks", "prune_channels") if n in knobs}}

    def phases(self, epochs: int) -> Mapping[str, int]:
        """Networks compare once one was trained after the last event; until then they are shipped as they are."""
        shares = [entry.last for entry in (*self._entries, *self._channels) if entry.last is not None]
        if not shares:
            return {"train": epochs}
        first = min(math.ceil((max(shares) - _ROUNDING) * epochs) + 1, epochs)
        return {"prune": first, "train": epochs - first}

    def prepare(self, model: nn.Module, batches: Batches) -> None:
        batch = next(batches())[:_IMAGES]
        paths = [self._place(number, entry, model, batch) for number, entry in enumerate(self._entries)]
        insert_masks(model, [(e.layer, e.most) for e in self._channels], batch.shape[1:])
        for number, (path, entry) in enumerate(zip(paths, self._entries, strict=True)):
            channels = _channels(model, path, batch)
            shape = Shape(entry.codebook_size, entry.hidden_dim or channels, channels)
            layer = TrainingCodebook(
                shape, Link(self.modulation, self.PSNR), self.scores, number, self.entropy, self.tau
            )
            attach(model, path, layer.to(batch.device))
            source = torch.Generator().manual_seed(int(torch.randint(1 << 62, ())))  # of the trial's seed
            seen = sampled(model, number, batches(), self.start_images, source)
            layer.start(seen, source, self.indecision)
        use(model, self.active)
        others = [n for n in range(len(paths)) if n != self.active] + [None] * (self.clean_weight > 0)
        if others:
            model.register_forward_hook(partial(_other_paths, others))
        self.on_step(model, 0.0)

    def parameter_groups(self, model: nn.Module) -> dict[str, list[nn.Parameter]]:
        own = {id(p) for layer in training_codebooks(model) for p in layer.parameters()}
        groups: dict[str, list[nn.Parameter]] = {"base": [], "codebook": []}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups["codebook" if id(parameter) in own else "base"].append(parameter)
        return groups

    def loss(self, model: nn.Module, outputs: Tensor, target: Tensor, task_loss: Callable[..., Tensor]) -> Tensor:
        total = task_loss(outputs, target)
        for number, other in training_codebooks(model)[0].__dict__.pop("others", ()):
            weight = self.clean_weight if number is None else 1.0
            total = total + weight * task_loss(other, target)
        return total

    def penalty(self, model: nn.Module) -> Tensor:
        return torch.stack([layer.penalty() for layer in training_codebooks(model)]).sum()

    def on_epoch(self, model: nn.Module, progress: float, batches: Batches) -> None:
        for number, (layer, entry) in enumerate(zip(training_codebooks(model), self._entries, strict=True)):
            living = entry.codebook_size - entry.gone(progress)
            if living < layer.live:
                layer.prune(living, streamed(model, number, "rows", batches(), self.count_images))
            else:
                layer.arrange()
        for number, channels in enumerate(self._channels):
            choose(model, number, channels.gone(progress))
        self.on_step(model, progress)

    def on_step(self, model: nn.Module, progress: float) -> None:
        for layer, entry in zip(training_codebooks(model), self._entries, strict=True):
            layer.beta.fill_(entry.beta(progress))

    def symbols(self, model: nn.Module) -> list[Symbols]:
        found, folded = [], folded_norms(model) if self.norms == "folded" else {}
        for path, layer in _paths(model):
            rows = layer.embedding.detach()[layer.shipped_rows()]
            found.append(stored(f"{path}.codebook{layer.number}.embedding", rows.float().cpu().numpy(), self.store))
        for name, tensor in masked(model):
            if name not in folded:
                found.append(stored(name, tensor.detach().float().cpu().numpy(), self.store))
        return found

    def card(self, model: nn.Module) -> dict[str, Any]:
        entries = [described(layer, path, layer.by_use()) for path, layer in _paths(model)]
        return {"codebooks": entries, "codebook": self.active}

    def measures(self, model: nn.Module) -> dict[str, float]:
        """``codewords``: those that live; ``symbol_errors``: the share of symbols that arrive as others."""
        layer = training_codebooks(model)[self.active]
        return {"codewords": layer.live, "symbol_errors": layer.link.error_rate(layer.live)}

    @torch.no_grad()
    def shipped_measures(self, network: nn.Module, inputs: Iterable[Tensor]) -> dict[str, float]:
        """Bits a picture, and GOps and parameters of the device's half."""
        maps: list[Any] = []
        half = None
        for batch in inputs:
            half = half or device_half(network, batch.shape[1:], keep=True)
            maps += list(half(batch[: self.coded_images - len(maps)]).cpu().numpy())
            if len(maps) >= self.coded_images:
                break
        assert half is not None, "there are validation pictures"
        layer, macs = working_codebook(network), count_macs(half, batch.shape[1:])
        return {
            "sent_bits_fixed": maps[0].size * math.log2(layer.live),
            "sent_bits_coded": float(np.mean(coded_bits(maps, layer.common))),
            "gops_device": macs.gops,
            "parameters_device": original_weights(half),
        }

    def _place(self, number: int, entry: CodebookEntry, model: nn.Module, batch: Tensor) -> str:
        """The dotted name of an entry's layer; KnobError where the network cannot be divided there."""
        if entry.layer == AUTO:
            return halfway(model, batch)
        knob = f"codebooks.{number}.layer"
        path = find_layer(knob, entry.layer, model)
        rule = "must be a layer that everything passes through, once; something goes around this one"
        require(knob, entry.layer, rule, is_cut(model, path, batch))
        return path


def _channels(model: nn.Module, path: str, batch: Tensor) -> int:
    """Of what a layer gives."""
    found: list[int] = []
    handle = model.get_submodule(path).register_forward_hook(
        lambda _, __, output: found.append(output.shape[channel_axis(output)])
    )
    try:
        with torch.no_grad(), working(model, None):
            model(batch)
    finally:
        handle.remove()
    return found[0]


def _paths(model: nn.Module) -> list[tuple[str, TrainingCodebook]]:
    """Codebooks with the layers that they stand behind."""
    names = {id(module): name for name, module in model.named_modules()}
    return [(names[id(layer)].rpartition(".")[0], layer) for layer in training_codebooks(model)]


def _other_paths(numbers: Sequence[int | None], model: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
    """A hook: in training, the logits of the other codebooks and of none, for the loss to find."""
    if not model.training or not torch.is_grad_enabled():
        return
    others = []
    for number in numbers:
        with working(model, number):
            others.append((number, model.forward(*inputs)))
    training_codebooks(model)[0].__dict__["others"] = others
