"""Codebooks while they are trained: no row ever leaves its place, so that the optimizer's moments stay with it.

The originals' scores are so alike that Gumbel's noise decides most choices: ``sharpness`` multiplies them, which changes no argmax.
``alive`` masks scores (-inf), the constellation (as many points as live) and its order; ``order`` has the living rows in the
order of their places, then the dead; ``used`` is how often each row was sent lately.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compress.channel import Link, ring
from compress.clusters import centroids, principal_axes
from compress.codebooks import CodebookLayer, Reached, Shape, codebooks_of, use

__all__ = ["ENTROPIES", "TrainingCodebook", "sampled", "streamed", "training_codebooks", "working"]

ENTROPIES = ("marginal", "conditional")
_MEMORY = 0.01  # share of a step in ``used``
_TINY = 1e-12
_ROWS, _MOST = 64, 1 << 16  # vectors that codewords start from: of a picture, and in all


class TrainingCodebook(CodebookLayer):
    """``beta`` weighs the entropy of the kind ``entropy`` in :meth:`penalty`; ``tau`` is the temperature of Gumbel's softmax."""

    alive: Tensor
    order: Tensor
    used: Tensor
    beta: Tensor
    sharpness: Tensor

    def __init__(self, shape: Shape, link: Link, scores: str, number: int, entropy: str, tau: float) -> None:
        super().__init__(shape, link, scores, number)
        self.entropy, self.tau = entropy, tau
        self.register_buffer("alive", torch.ones(shape.size, dtype=torch.bool))
        self.register_buffer("order", torch.arange(shape.size))
        self.register_buffer("used", torch.full((shape.size,), 1 / shape.size))
        self.register_buffer("beta", torch.zeros(()))
        self.register_buffer("sharpness", torch.ones(()))
        self.entropies: tuple[Tensor, Tensor] | None = None

    @property
    def live(self) -> int:
        return int(self.alive.sum())

    def score(self, z: Tensor) -> Tensor:
        return (self.sharpness * super().score(z)).masked_fill(~self.alive, -torch.inf)

    def transmit(self, z: Tensor, positions: Sequence[int]) -> Tensor:
        """In training with Gumbel noise and the generator's channel; else as the layer of a file does."""
        scores = self.score(z)
        if self.asked == "rows":
            raise Reached(scores.argmax(1))
        soft = scores.softmax(1)
        sent = scores.argmax(1)
        if self.training:
            self.entropies = marginal_entropy(soft), conditional_entropy(soft)
            noisy = scores - torch.empty_like(scores).exponential_().log()
            sent, soft = noisy.argmax(1), (noisy / self.tau).softmax(1)
            self._note(sent)
        places = torch.argsort(self.order)[sent].reshape(positions)
        if self.asked == "sent":
            raise Reached(places)
        arrived = self.order[self.through(places).reshape(-1)]
        return self.look_up(soft, arrived)

    def through(self, sent: Tensor) -> Tensor:
        if not self.training:
            return super().through(sent)
        noise = torch.randn(*sent.shape, 2, device=sent.device)
        return self.link.deliver(sent, self.live, noise)

    def penalty(self) -> Tensor:
        """β H of the last pass in training, and forget it."""
        terms, self.entropies = self.entropies, None
        return self.embedding.new_zeros(()) if terms is None else self.beta * terms[ENTROPIES.index(self.entropy)]

    @torch.no_grad()
    def start(self, vectors: Tensor, source: torch.Generator, indecision: float = 0.0) -> None:
        """Projections along the principal axes of (n, C) vectors, codewords at the centroids of k-means.

        Above 0, ``indecision`` is the conditional entropy in nats that ``sharpness`` is set to give.
        """
        if self.shape.width != self.shape.channels:
            mean, axes = principal_axes(vectors, self.shape.width)
            for layer, weight, bias in ((self.encode, axes.t(), -mean @ axes), (self.decode, axes, mean)):
                layer.weight.copy_(weight)  # type: ignore[operator]
                layer.bias.copy_(bias)  # type: ignore[operator]
        z = self.encode(vectors)
        self.embedding.copy_(centroids(z, self.shape.size, source))
        scores = self.score(z)
        self.used.copy_(self._counts(scores.argmax(1)))
        if indecision:
            self.sharpness.fill_(sharpened(scores, indecision))
        self.arrange(fresh=True)

    @torch.no_grad()
    def prune(self, living: int, rows: Iterable[Tensor]) -> None:
        """Leave as many codewords alive, those that ``rows`` name most often."""
        counts = torch.zeros_like(self.order)
        for part in rows:
            counts += torch.bincount(part, minlength=self.shape.size)
        ranked = torch.sort(counts.masked_fill(~self.alive, -1), descending=True, stable=True).indices
        self.alive.zero_()
        self.alive[ranked[:living]] = True
        self.arrange()

    @torch.no_grad()
    def arrange(self, fresh: bool = False) -> None:
        """Order the living so that neighbours on the constellation are near; from the order as it is, unless ``fresh``."""
        rows = self.order[self.alive[self.order]]
        found = ring(self.embedding[rows], None if fresh else list(range(len(rows))))
        dead = torch.nonzero(~self.alive).flatten()
        self.order.copy_(torch.cat([rows[torch.tensor(found, device=rows.device)], dead]))

    @torch.no_grad()
    def shipped_rows(self) -> Tensor:
        """Living rows, by place."""
        return self.order[: self.live]

    def by_use(self) -> list[int]:
        """Places, those first that were sent most often lately."""
        used = self.used[self.shipped_rows()]
        return [int(place) for place in torch.sort(used, descending=True, stable=True).indices]

    def _note(self, sent: Tensor) -> None:
        with torch.no_grad():
            self.used.lerp_(self._counts(sent), _MEMORY)

    def _counts(self, sent: Tensor) -> Tensor:
        return torch.bincount(sent, minlength=self.shape.size).to(self.used) / max(len(sent), 1)


def sharpened(scores: Tensor, indecision: float) -> float:
    """The factor, from 1e-3 to 1e3, at which the conditional entropy comes nearest to that; it falls as the factor grows."""
    low, high = -3.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        entropy = float(conditional_entropy((scores * 10**middle).softmax(1)))
        low, high = (middle, high) if entropy > indecision else (low, middle)
    return float(10 ** ((low + high) / 2))


def marginal_entropy(soft: Tensor) -> Tensor:
    """Nats a vector of what is sent at all: H(mean p)."""
    return -_plogp(soft.mean(0)).sum()


def conditional_entropy(soft: Tensor) -> Tensor:
    """Nats a vector of indecision: the mean of H(p)."""
    return -_plogp(soft).sum(1).mean()


def _plogp(p: Tensor) -> Tensor:
    return p * p.clamp_min(_TINY).log()


def training_codebooks(model: nn.Module) -> list[TrainingCodebook]:
    """In the order of their list."""
    return [layer for layer in codebooks_of(model) if isinstance(layer, TrainingCodebook)]


def streamed(model: nn.Module, number: int, what: str, batches: Iterable[Tensor], images: int) -> Iterator[Tensor]:
    """What a codebook is asked for (``CodebookLayer.asking``, or ``rows``), batch by batch, in evaluation mode."""
    for batch in batches:
        yield _asked(model, number, what, batch[:images])
        images -= len(batch)
        if images <= 0:
            return


def sampled(model: nn.Module, number: int, batches: Iterable[Tensor], images: int, source: torch.Generator) -> Tensor:
    """(n, C) of the vectors that come to a codebook: some of each batch, drawn by ``source``."""
    images = min(images, _MOST)
    rows, left, found = min(_ROWS, _MOST // images), images, []
    for batch in batches:
        some = batch[:left]
        vectors = _asked(model, number, "vectors", some)
        drawn = torch.randperm(len(vectors), generator=source)[: rows * len(some)]
        found.append(vectors[drawn.to(vectors.device)])
        left -= len(some)
        if not left:
            break
    return torch.cat(found)


@torch.no_grad()
def _asked(model: nn.Module, number: int, what: str, batch: Tensor) -> Tensor:
    was_training = model.training
    model.eval()
    try:
        with working(model, number), codebooks_of(model)[number].asking(what):
            model(batch)
    except Reached as reached:
        return reached.value
    finally:
        model.train(was_training)
    raise AssertionError("a cut is in every pass")


@contextmanager
def working(model: nn.Module, number: int | None) -> Iterator[None]:
    """The codebook of that number alone at work, or none, and then as before."""
    layers = codebooks_of(model)
    held = [layer.active for layer in layers]
    use(model, number)
    try:
        yield
    finally:
        for layer, active in zip(layers, held, strict=True):
            layer.active = active
