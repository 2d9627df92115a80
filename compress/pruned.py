"""What methods that prune share: sites found in the network, masks of a rate, and what is shipped under a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.graph import Graph, NormSite, trace
from compress.importance import IMPORTANCES, needs_filters, output_axis
from compress.method import Batches, KnobError, Method
from compress.metrics import original_weights
from compress.norms import folded_norms
from compress.pruning import CRITERIA, Piece, Pruning, Site, least_count, mask_of, ranking, share_of
from compress.quantized import require, select_layers
from compress.reach import parameters_left
from compress.storing import stored
from compress.symbols import Symbols

__all__ = ["STRUCTURES", "PruningMethod", "pieces_of", "pruning_of"]

STRUCTURES = ("norms", "filters", "weights")
_PLACE = "pruning"
_IMAGES = 8
_SILENT = 1e-5  # outputs that differ by less, relative to the largest, do not see the input


@dataclass(frozen=True, kw_only=True)
class PruningMethod(Method):
    """``pruning_rate``: share of the channels, or (``target: parameters``) of the parameters that really leave, that is pruned.

    ``pruning_criterion``: ``global`` ranks all channels together, ``safe`` those alone that touch no residual add (the rate is a
    share of them), ``local`` and ``safe_local`` take the same share of every norm. A norm keeps its best channel, unless it ends a branch that an
    add skips. ``parameters``: the fewest channels after which no more than 1 - rate of the parameters is left.
    """

    pruning_rate: float = 0.5
    pruning_criterion: str = "global"
    target: str = "channels"
    importance: str = "gamma"
    store: str = "int8"
    norms: str = "folded"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("pruning_rate", self.pruning_rate, "must lie in [0, 1)", 0 <= self.pruning_rate < 1)
        for name, allowed in (
            ("pruning_criterion", CRITERIA),
            ("target", ("channels", "parameters")),
            ("importance", tuple(IMPORTANCES)),
        ):
            require(name, getattr(self, name), f"must be one of {', '.join(allowed)}", getattr(self, name) in allowed)

    @property
    def structured_by(self) -> str:
        """What a mask covers: ``norms`` (γ and β), ``filters`` (the filters in front too), single ``weights``."""
        return "filters" if needs_filters(self.importance) else "norms"

    def prepare(self, model: nn.Module, batches: Batches) -> None:
        batch = next(batches())[:_IMAGES]
        sites = _layers(model) if self.structured_by == "weights" else self._norms(model, batch)
        pruning = Pruning(sites, batch.shape[1:])
        pruning.gone = pruning.gone.to(batch.device)  # the rest stays where a step reads it without waiting for a GPU
        model.add_module(_PLACE, pruning)
        pruning.count.fill_(self.count(model, self.pruning_rate))

    def symbols(self, model: nn.Module) -> list[Symbols]:
        return list(self.masked(model, self.selected(model, self.pruning_rate)))

    def measures(self, model: nn.Module) -> dict[str, float]:
        """``pruned``: share of the entries that the mask in the model takes."""
        return {"pruned": float(pruning_of(model).gone.float().mean())}

    def order(self, model: nn.Module) -> Tensor:
        """The ranking of all entries as the model is now."""
        pruning = pruning_of(model)
        return ranking(self._scores(model), [s.spared for s in pruning.sites], self.pruning_criterion)

    def count(self, model: nn.Module, rate: float) -> int:
        """How many entries a rate stands for in the model as it is now."""
        pruning, order = pruning_of(model), self.order(model)
        if self.target == "channels" or self.structured_by == "weights":
            return min(share_of(rate, pruning.sizes, self.pruning_criterion), len(order))
        return self._count_by_parameters(model, order, rate)

    def selected(self, model: nn.Module, rate: float) -> Tensor:
        """(entries,) true for what goes at a rate, as the model is now."""
        return mask_of(self.order(model), self.count(model, rate), len(pruning_of(model).gone))

    def _count_by_parameters(self, model: nn.Module, order: Tensor, rate: float) -> int:
        pruning = pruning_of(model)
        graph = trace(model, pruning.input_shape.tolist())
        assert graph is not None, "prepare has traced it"
        state = {n: v.float().cpu().numpy() for n, v in model.state_dict().items() if not n.startswith(f"{_PLACE}.")}
        goal = (1 - rate) * original_weights(model)

        def enough(count: int) -> bool:
            gone = mask_of(order, count, len(pruning.gone)).cpu()
            masked = {n: v.numpy() for n, v in _under(pruning, gone, state) if v.dim() == 1}
            return parameters_left(graph, state | masked) <= goal

        return least_count(len(order), enough) if rate else 0

    def _scores(self, model: nn.Module) -> list[Tensor]:
        sites = pruning_of(model).sites
        if self.structured_by == "weights":
            return [model.get_parameter(s.pieces[0].name).detach().abs().flatten() for s in sites]
        score = IMPORTANCES[self.importance]
        return [score(model.get_submodule(s.name), model.get_submodule(s.layer) if s.layer else None) for s in sites]

    def masked(self, model: nn.Module, gone: Tensor) -> Iterator[Symbols]:
        """The tensors that sites have a part in, zero where gone, under all their names."""
        state: dict[str, Any] = dict(model.state_dict())
        if self.norms == "folded":
            state |= folded_norms(model)
        names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        pruning = pruning_of(model)
        for name, values in _under(pruning, gone.cpu(), {n: v.detach().float().cpu() for n, v in state.items()}):
            for alias in names[id(model.get_parameter(name))]:
                yield stored(alias, values.numpy(), self.store)
        for site in pruning.sites:
            for part in ("running_mean", "running_var"):
                if f"{site.name}.{part}" in state and self.norms == "folded":
                    yield stored(f"{site.name}.{part}", state[f"{site.name}.{part}"].cpu().numpy(), self.store)

    def _norms(self, model: nn.Module, batch: Tensor) -> list[Site]:
        graph = trace(model, batch.shape[1:])
        norms = self._candidates(model, graph)
        skipped = _skipped(model, [n for n in norms if not n.free], batch) if graph is not None else set()
        return [self._site(model, norm, norm.name not in skipped) for norm in norms]

    def _candidates(self, model: nn.Module, graph: Graph | None) -> list[NormSite]:
        """The norms whose channels this method may take; KnobError where there is none, or one lacks what is asked for."""
        if graph is None:
            cannot = "the network cannot be traced, and its channels not followed"
            require("target", self.target, cannot, self.target == "channels")
            require("pruning_criterion", self.pruning_criterion, cannot, "safe" not in self.pruning_criterion)
            require("importance", self.importance, cannot, not needs_filters(self.importance))
            found = [NormSite(n, None, (), False) for n, m in model.named_modules() if isinstance(m, _BatchNorm)]
        else:
            found = graph.norms()
        found = [norm for norm in found if model.get_submodule(norm.name).weight is not None]
        if not found:
            raise KnobError(
                f"pruning_rate = {self.pruning_rate!r}: the network has no batch norm whose channels could go"
            )
        if "safe" in self.pruning_criterion:
            found = [norm for norm in found if norm.free]
            require("pruning_criterion", self.pruning_criterion, "every batch norm touches a residual add", bool(found))
        if needs_filters(self.importance):
            bare = [n.name for n in found if _filters(model, n) is None]
            require("importance", self.importance, f"no filters stand before {', '.join(bare)}", not bare)
        return found

    def _site(self, model: nn.Module, norm: NormSite, spared: bool) -> Site:
        pieces = [Piece(f"{norm.name}.weight", 0), Piece(f"{norm.name}.bias", 0)]
        layer = _filters(model, norm)
        if layer is not None and self.structured_by == "filters":
            axis = output_axis(model.get_submodule(layer))
            pieces.append(Piece(f"{layer}.weight", axis))
        size = len(model.get_parameter(pieces[0].name))
        return Site(norm.name, size, tuple(pieces), layer, spared)


def pruning_of(model: nn.Module) -> Pruning:
    """The state that ``prepare`` put into the model."""
    found = model.get_submodule(_PLACE)
    assert isinstance(found, Pruning)
    return found


def pieces_of(model: nn.Module, entries: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor that sites have a part in, with what ``entries`` says of its numbers, ready to broadcast."""
    pruning = pruning_of(model)
    for site, part in zip(pruning.sites, entries.split(pruning.sizes), strict=True):
        for piece in site.pieces:
            parameter = model.get_parameter(piece.name)
            yield parameter, piece.fit(part, parameter)


def _filters(model: nn.Module, norm: NormSite) -> str | None:
    layer = norm.filters
    return layer if layer is not None and output_axis(model.get_submodule(layer)) is not None else None


def _layers(model: nn.Module) -> list[Site]:
    """Every convolution and linear layer, weight by weight; its largest stays."""
    layers = select_layers(model, (), ("Embedding",))
    weights = {f"{name}.weight".lstrip("."): module.get_parameter("weight") for name, module in layers.items()}
    return [Site(n.rpartition(".")[0], w.numel(), (Piece(n, None),)) for n, w in weights.items()]


def _under(pruning: Pruning, gone: Tensor, state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every piece, a copy with zeros where its entries are gone."""
    for site, part in zip(pruning.sites, gone.split(pruning.sizes), strict=True):
        for piece in site.pieces:
            values = torch.as_tensor(np.asarray(state[piece.name]))
            yield piece.name, values.masked_fill(piece.fit(part, values), 0.0)


@torch.no_grad()
def _skipped(model: nn.Module, norms: Sequence[NormSite], batch: Tensor) -> set[str]:
    """Names of norms that may go altogether, all at once, and leave outputs that still depend on the input."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    skipped, held = set(), []
    for norm in norms:
        module: Any = model.get_submodule(norm.name)
        before = [(p, p.clone()) for p in (module.weight, module.bias)]
        for parameter, _ in before:
            parameter.zero_()
        if _sees(model(batch)):
            skipped.add(norm.name)
            held += before
        else:
            _put_back(before)
    _put_back(held)
    for module, training in modes:
        module.training = training
    return skipped


def _put_back(values: Sequence[tuple[Tensor, Tensor]]) -> None:
    for parameter, value in values:
        parameter.copy_(value)


def _sees(outputs: Tensor) -> bool:
    """Whether the outputs of different inputs differ."""
    spread = (outputs - outputs[:1]).abs().max()
    return bool(spread > _SILENT * outputs.abs().max())
