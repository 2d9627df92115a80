"""The layer between a device and a server: vectors become codewords, codewords symbols, symbols codewords again.

Formula: z a vector of D numbers across the channels of one position, E the K codewords; scores a = z Eᵀ / √D (``dot``), or
a = (z Eᵀ - |E|² / 2) / √D (``distance``, whose largest is the nearest codeword); p = softmax(a). Evaluation sends k = argmax a.
Training sends the argmax of a plus Gumbel noise; what arrives is looked up, with the gradient of softmax((a + g) / τ)
(straight-through, Jang et al. 2017, arXiv 1611.01144). Entropies in nats a vector, with gradients: *marginal* H(mean p),
*conditional* mean H(p).

The layer of a file holds the living codewords alone, in the order of their places on the constellation. In training all rows
stay where they are (``training_codebooks``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compress.channel import LEAST_PSNR, MODULATIONS, MOST_PSNR, Link, settled_noise

__all__ = [
    "CodebookLayer",
    "Reached",
    "attach",
    "codebooks_of",
    "described",
    "extend",
    "use",
    "without_codebooks",
]

SCORES = ("dot", "distance")
_PATH = re.compile(r"\w+(?:\.\w+)*")
_KEYS = ("layer", "codebook_size", "hidden_dim", "channels", "scores", "modulation", "PSNR", "common")
_MOST = 1 << 20  # codewords, and their numbers


class Reached(Exception):
    """Ends a forward pass at the layer that was asked; ``value`` is what it was asked for."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


class _Lookup(torch.autograd.Function):
    """Rows of a table as they arrived; the gradient is that of soft choices y in y E, so that no one-hot row is made."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, table: Tensor, arrived: Tensor) -> Tensor:
        ctx.save_for_backward(table, arrived)
        return table[arrived]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        table, arrived = ctx.saved_tensors
        gradient = gradient.to(table.dtype)
        return gradient @ table.t(), torch.zeros_like(table).index_add(0, arrived, gradient), None


@dataclass(frozen=True)
class Shape:
    """``size`` codewords of ``width`` numbers for vectors of ``channels``."""

    size: int
    width: int
    channels: int


class CodebookLayer(nn.Module):
    """Input and output (N, C, ...), or (N, T, C) as transformers have it. ``number``: its place in the list of codebooks; ``active``: else it hands on what comes.

    ``common``: places on the constellation, those first that are sent most often, as training saw it.
    """

    opaque: ClassVar[bool] = True  # one step of a traced network

    def __init__(self, shape: Shape, link: Link, scores: str = "dot", number: int = 0) -> None:
        super().__init__()
        self.shape, self.link, self.scores, self.number = shape, link, scores, number
        self.common = tuple(range(shape.size))
        self.active = True
        self.asked: str | None = None
        bound = 1 / shape.size
        self.embedding = nn.Parameter(torch.empty(shape.size, shape.width).uniform_(-bound, bound))
        projected = shape.width != shape.channels
        self.encode: nn.Module = nn.Linear(shape.channels, shape.width) if projected else nn.Identity()
        self.decode: nn.Module = nn.Linear(shape.width, shape.channels) if projected else nn.Identity()

    @property
    def live(self) -> int:
        """Codewords that may be sent."""
        return self.shape.size

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        axis = channel_axis(x)
        rows = x.movedim(axis, -1)
        if self.asked == "vectors":
            raise Reached(rows.reshape(-1, self.shape.channels))
        z = self.encode(rows).reshape(-1, self.shape.width)
        out = self.transmit(z, rows.shape[:-1])
        return self.decode(out.reshape(*rows.shape[:-1], self.shape.width)).movedim(-1, axis)

    def transmit(self, z: Tensor, positions: Sequence[int]) -> Tensor:
        """(n, D) vectors as they arrive; ``positions`` (N, ...) are theirs in the pictures."""
        scores = self.score(z)
        sent = scores.argmax(1).reshape(positions)
        if self.asked == "sent":
            raise Reached(sent)
        arrived = self.through(sent).reshape(-1)
        return self.look_up(scores.softmax(1), arrived) if torch.is_grad_enabled() else self.embedding[arrived]

    def look_up(self, soft: Tensor, arrived: Tensor) -> Tensor:
        """(n, D) codewords of the rows that arrived, with the gradient of the soft choices (n, K)."""
        found: Tensor = _Lookup.apply(soft, self.embedding, arrived)
        return found

    def score(self, z: Tensor) -> Tensor:
        """(n, K), in the codewords' own precision: in bfloat16 near codewords would tie."""
        with _exactly(z.device.type):
            products = z.to(self.embedding.dtype) @ self.embedding.t()
            if self.scores == "distance":
                products = products - self.embedding.square().sum(1) / 2
            return products / math.sqrt(self.shape.width)

    def through(self, sent: Tensor) -> Tensor:
        """Places (N, ...) after the channel, with the noise of evaluation."""
        noise = settled_noise(sent.reshape(sent.shape[0], -1)).reshape(*sent.shape, 2)
        return self.link.deliver(sent, self.live, noise)

    def extra_repr(self) -> str:
        link = (
            self.link.modulation if self.link.modulation == "none" else f"{self.link.modulation}, {self.link.PSNR} dB"
        )
        return f"{self.shape.size} codewords of {self.shape.width} for {self.shape.channels} channels, {link}"

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Passes end here with a ``Reached``: of the ``vectors`` (n, C) that come, or the places ``sent`` (N, ...)."""
        self.asked = what
        try:
            yield
        finally:
            self.asked = None


def channel_axis(x: Tensor) -> int:
    """Of a layer's output: the last of (N, T, C), else the one behind the pictures."""
    return -1 if x.dim() == 3 else 1


def _exactly(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


class _Split:
    """What a layer becomes that codebooks stand behind; its tensors keep their names. One of PyTorch's own is one opaque step."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        x = super().forward(*args, **kwargs)  # type: ignore[misc]
        for module in self._modules.values():  # type: ignore[attr-defined]
            x = module(x) if isinstance(module, CodebookLayer) else x
        return x


def attach(network: nn.Module, path: str, layer: CodebookLayer) -> None:
    """Put a codebook behind the layer of that name: its tensors are ``path.codebookN....``."""
    before = network.get_submodule(path)
    before.add_module(f"codebook{layer.number}", layer)
    kind = type(before)
    if kind.forward is not nn.Sequential.forward and not isinstance(before, _Split):
        members = {"__module__": __name__, "opaque": kind.__module__.startswith("torch.nn")}
        before.__class__ = type(kind.__name__, (_Split, kind), members)


def codebooks_of(network: nn.Module) -> list[CodebookLayer]:
    """In the order of their list."""
    return sorted((m for m in network.modules() if isinstance(m, CodebookLayer)), key=lambda layer: layer.number)


def use(network: nn.Module, number: int | None) -> nn.Module:
    """Let the codebook of that number alone work, or none."""
    for layer in codebooks_of(network):
        layer.active = layer.number == number
    return network


def described(layer: CodebookLayer, path: str, common: Sequence[int]) -> dict[str, Any]:
    """A codebook as a card names it; as many codewords as places in ``common``."""
    shape, link = layer.shape, layer.link
    sizes = (len(common), shape.width, shape.channels)
    values = (path, *sizes, layer.scores, link.modulation, link.PSNR, list(common))
    return dict(zip(_KEYS, values, strict=True))


def extend(network: nn.Module, card: Mapping[str, Any], held: Mapping[str, tuple[int, ...]] | None = None) -> nn.Module:
    """Insert the codebooks that a card names, if they are not there; ``held``: shapes of the file's tensors, if known.

    ValueError for whatever :func:`described` does not write.
    """
    entries, number = card.get("codebooks"), card.get("codebook", 0)
    if entries is None or codebooks_of(network):
        return network
    if not isinstance(entries, list) or type(number) is not int or not 0 <= number < len(entries):
        raise ValueError("card: codebooks must be a list, and codebook the number of one of them")
    for place, entry in enumerate(entries):
        path, layer = _layer(entry, place, network, held)
        attach(network, path, layer)
    return use(network, number)


def without_codebooks(artifact: Any) -> dict[str, Tensor]:
    """A file's dense state dict, of the network before codebooks were inserted."""
    state: dict[str, Tensor] = artifact.dense_state_dict()
    entries = artifact.card.get("codebooks") or []
    own = [f"{e.get('layer')}.codebook{n}." for n, e in enumerate(entries) if isinstance(e, dict)]
    return {name: value for name, value in state.items() if not name.startswith(tuple(own))}


def _layer(
    entry: Any, number: int, network: nn.Module, held: Mapping[str, tuple[int, ...]] | None
) -> tuple[str, CodebookLayer]:
    if not isinstance(entry, dict) or not set(_KEYS) <= set(entry):
        raise ValueError(f"card: codebooks.{number} must have the keys {', '.join(_KEYS)}")
    path, size, width, channels, scores, modulation, psnr, common = (entry[key] for key in _KEYS)
    whole = all(type(n) is int and 1 <= n <= _MOST for n in (size, width, channels))
    if not whole or scores not in SCORES or modulation not in list(MODULATIONS) or type(psnr) not in (int, float):
        raise ValueError(f"card: codebooks.{number} = {str(entry)[:200]}: describes no codebook")
    if not LEAST_PSNR <= psnr <= MOST_PSNR or not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ValueError(f"card: codebooks.{number} = {str(entry)[:200]}: describes no codebook")
    if path not in dict(network.named_modules()):
        raise ValueError(f"card: codebooks.{number}.layer = {path[:80]!r}: the network has no such layer")
    if held is not None and held.get(f"{path}.codebook{number}.embedding") != (size, width):
        raise ValueError(f"card: codebooks.{number}: its codewords are not among the tensors")
    if (
        held is not None
        and width != channels
        and held.get(f"{path}.codebook{number}.encode.weight") != (width, channels)
    ):
        raise ValueError(f"card: codebooks.{number}: its projection is not among the tensors")
    if not isinstance(common, list) or any(type(n) is not int for n in common) or sorted(common) != list(range(size)):
        raise ValueError(f"card: codebooks.{number}.common must have each of {size} places once")
    layer = CodebookLayer(Shape(size, width, channels), Link(modulation, float(psnr)), scores, number)
    layer.common = tuple(common)
    return path, layer
