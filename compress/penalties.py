"""Terms added to the loss, by name. A new one is one dataclass and one line of ``PENALTIES``.

Group lasso on hard weights W: Σ_layers λ_kind Σ_groups sqrt(n_g) ||W_g||_2, n_g the group's size (Yuan & Lin 2006,
J. R. Stat. Soc. B 68). A group is an input feature (linear) or an input channel with all its taps (convolution);
``axis: out`` groups outputs instead. The gradient reaches the soft weights through the quantizer's own surrogate.

Distillation: λ T² KL(softmax(d / T) || softmax(s / T)), mean over the batch, with s the logits in training and d those of
the dense network on the same inputs (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2). T² keeps the gradient's
size when T changes.

Hints: λ Σ_layers |s_l - d_l|² / |d_l|², with s_l a layer's outputs in training and d_l those of the dense network (Romero et
al. 2015, "FitNets", arXiv 1412.6550, eq. 3, without a regressor: the two are of one shape). |d_l|² lets one λ do for all layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from compress.method import KnobError

__all__ = ["PENALTIES", "Distill", "GroupLasso", "Hint", "Penalty", "Step", "build_penalties", "penalty_knobs"]

_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a penalty sees of one training step: ``inputs`` (N, ...) as augmented, ``outputs`` (N, classes) of ``model``.

    ``dense`` maps inputs to the dense network's logits; it is there where a penalty of the trial ``needs_dense``. ``seen`` has the
    outputs in ``model`` of layers that a penalty ``watches``, and once :attr:`dense_outputs` were made ``dense_seen`` the dense network's.
    """

    model: nn.Module
    inputs: Tensor
    outputs: Tensor
    target: Tensor
    dense: Callable[[Tensor], Tensor] | None = None
    seen: Mapping[str, Tensor] = field(default_factory=dict)
    dense_seen: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def dense_outputs(self) -> Tensor:
        """(N, classes) logits of the dense network on ``inputs``, without gradient; made when first asked for."""
        if self.dense is None:
            raise KnobError("penalties: one asks for the dense network and does not say that it needs_dense")
        with torch.no_grad():
            return self.dense(self.inputs)


class Penalty(ABC):
    """A frozen dataclass of knobs that maps a step to a scalar."""

    @property
    def needs_dense(self) -> bool:
        """Whether ``Step.dense`` must be there."""
        return False

    @property
    def watches(self) -> Mapping[str, str]:
        """Layers whose outputs must be in ``Step.seen``, each with the knob that names it."""
        return {}

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """What is added to the loss, in nats, with a gradient to ``step.model`` alone."""


@dataclass(frozen=True, kw_only=True)
class GroupLasso(Penalty):
    """``lambda`` scales the whole term, ``lambda_linear`` and ``lambda_conv`` its two kinds of layer."""

    lambda_: float = 1.0
    lambda_linear: float = 1e-4
    lambda_conv: float = 1e-4
    axis: str = "in"

    def __post_init__(self) -> None:
        if self.axis not in ("in", "out"):
            raise KnobError(f"group_lasso.axis = {self.axis!r}: must be in or out")
        for name in ("lambda_", "lambda_linear", "lambda_conv"):
            _check_strength(f"group_lasso.{name.rstrip('_')}", getattr(self, name))

    def __call__(self, step: Step) -> Tensor:
        """Scalar; every linear and convolution layer takes part."""
        total = torch.zeros((), device=next(step.model.parameters()).device)
        for module in step.model.modules():
            if isinstance(module, (nn.Linear, _ConvNd)):
                linear = isinstance(module, nn.Linear)
                strength = self.lambda_ * (self.lambda_linear if linear else self.lambda_conv)
                if strength:
                    total = total + strength * _group_norms(module, self.axis)
        return total


def _group_norms(module: nn.Module, axis: str) -> Tensor:
    """Σ_g sqrt(n_g) ||W_g||_2 of one layer; the groups of a grouped convolution have input channels of their own."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, _ConvNd) and module.transposed:
        axis = "out" if axis == "in" else "in"  # a transposed kernel has its axes exchanged
    groups = getattr(module, "groups", 1) if axis == "in" else 1
    parts = weight.float().reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    parts = parts.transpose(1, 2) if axis == "in" else parts
    rows = parts.reshape(parts.shape[0] * parts.shape[1], -1)
    size: float = rows.shape[1] ** 0.5
    return size * torch.linalg.vector_norm(rows, dim=1).sum()


@dataclass(frozen=True, kw_only=True)
class Distill(Penalty):
    """``lambda`` scales the term; a higher ``temperature`` softens both networks' answers."""

    lambda_: float = 1.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        _check_strength("distill.lambda", self.lambda_)
        if not 0 < self.temperature < float("inf"):
            raise KnobError(f"distill.temperature = {self.temperature!r}: must be a finite number above 0")

    @property
    def needs_dense(self) -> bool:
        """At no strength there is nothing to ask the dense network for."""
        return self.lambda_ > 0

    def __call__(self, step: Step) -> Tensor:
        """Scalar, computed in float32 whatever the outputs are."""
        if not self.needs_dense:
            return torch.zeros((), device=step.outputs.device)
        student, dense = (F.log_softmax(x.float() / self.temperature, 1) for x in (step.outputs, step.dense_outputs))
        divergence = F.kl_div(student, dense, reduction="batchmean", log_target=True)
        return self.lambda_ * self.temperature**2 * divergence


@dataclass(frozen=True, kw_only=True)
class Hint(Penalty):
    """``lambda`` scales the term; ``layers`` are names as ``layer2`` or ``layer1[2]``, of one shape in both networks."""

    lambda_: float = 1.0
    layers: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_strength("hint.lambda", self.lambda_)
        listed = isinstance(self.layers, Sequence) and not isinstance(self.layers, str)
        if not listed or not all(isinstance(name, str) for name in self.layers):
            raise KnobError(f"hint.layers = {self.layers!r}: must be a list of names")
        if self.lambda_ > 0 and not self.layers:
            raise KnobError("hint.layers = []: must name at least one layer")

    @property
    def needs_dense(self) -> bool:
        return self.lambda_ > 0

    @property
    def watches(self) -> Mapping[str, str]:
        return {name: f"hint.layers.{n}" for n, name in enumerate(self.layers)} if self.needs_dense else {}

    def __call__(self, step: Step) -> Tensor:
        """Scalar, computed in float32 whatever the outputs are; KnobError where a layer's shapes differ, or it was not passed."""
        total = torch.zeros((), device=step.outputs.device)
        if not self.needs_dense:
            return total
        _ = step.dense_outputs  # a pass, in which they are seen
        for name, knob in self.watches.items():
            if name not in step.seen or name not in step.dense_seen:
                raise KnobError(f"{knob} = {name!r}: must be a layer that both networks pass through")
            ours, dense = step.seen[name].float(), step.dense_seen[name].float()
            if ours.shape != dense.shape:
                shapes = f"{tuple(ours.shape[1:])} and {tuple(dense.shape[1:])}"
                raise KnobError(f"{knob} = {name!r}: its outputs must be of one shape in both networks, not {shapes}")
            total = total + (ours - dense).square().sum() / dense.square().sum().clamp_min(_LEAST)
        return self.lambda_ * total


def _check_strength(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise KnobError(f"{name} = {value!r}: must be a finite number from 0")


PENALTIES: dict[str, type[Any]] = {
    "distill": Distill,
    "group_lasso": GroupLasso,
    "hint": Hint,
}


def penalty_knobs(name: str) -> dict[str, Any]:
    """Knobs of one penalty, as a user writes them (``lambda``, not ``lambda_``), with their defaults."""
    return {f.name.rstrip("_"): f.default for f in fields(PENALTIES[name])}


def build_penalties(specs: Iterable[Mapping[str, Any]]) -> list[Penalty]:
    """``[{name: group_lasso, lambda: 1e-4}]`` to callables; KnobError for a knob that is not there or out of range."""
    built: list[Penalty] = []
    for spec in specs:
        name = str(spec.get("name"))
        if name not in PENALTIES:
            raise KnobError(f"penalties.name = {name!r}: must be one of {', '.join(PENALTIES)}")
        knobs = {k: v for k, v in spec.items() if k != "name"}
        unknown = sorted(set(knobs) - set(penalty_knobs(name)))
        if unknown:
            raise KnobError(
                f"{name}.{unknown[0]} = {knobs[unknown[0]]!r}: not a knob, one of {', '.join(penalty_knobs(name))}"
            )
        built.append(PENALTIES[name](**{"lambda_" if k == "lambda" else k: v for k, v in knobs.items()}))
    return built
