"""Method: what compresses a network. A method holds the knobs; the model holds the state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from compress.norms import NORMS, folded_norms
from compress.storing import STORES, stored
from compress.symbols import Symbols

__all__ = ["Batches", "KnobError", "MainKnob", "Method", "all_tensors"]

Batches = Callable[[], Iterator[Tensor]]


class KnobError(ValueError):
    """A knob with a value its method cannot take; the message names knob, value and rule."""


@dataclass(frozen=True)
class MainKnob:
    """The knob a method is known by, three values of it, and the reported quantity they shrink in that order."""

    name: str
    values: tuple[Any, Any, Any]
    moves: str = "size"


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Frozen knobs, and hooks on a model in the order of a trial's life. Only ``prepare`` and ``symbols`` are required.

    ``progress`` is epochs done / epochs in all, in [0, 1]; ``batches()`` yields training inputs. State that a hook must
    remember is a parameter, buffer, parametrization or inserted module of the model, so that ``model.state_dict()`` is
    the whole of it. ``store``: how tensors are kept that the method does not code (``storing``). ``norms``: batch norms
    are ``kept``, or ``folded`` into a scale and a shift (``norms``). ``norm_images``: training images that their statistics
    are taken from anew before a file is written, 0 to leave them as training left them.
    """

    main_knob: ClassVar[MainKnob | None] = None
    objectives: ClassVar[tuple[str, ...]] = ()  # what ``shipped_measures`` reports that a search may make small

    store: str = "float32"
    norms: str = "kept"
    norm_images: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("store", STORES), ("norms", NORMS)):
            if getattr(self, name) not in allowed:
                raise KnobError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if self.norm_images < 0:
            raise KnobError(f"norm_images = {self.norm_images!r}: must be a whole number from 0")

    @abstractmethod
    def prepare(self, model: nn.Module, batches: Batches) -> None:
        """Convert a dense model in place."""

    def parameter_groups(self, model: nn.Module) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by optimizer group: ``base`` and whatever else the method trains apart."""
        return {"base": [p for p in model.parameters() if p.requires_grad]}

    def loss(self, model: nn.Module, outputs: Tensor, target: Tensor, task_loss: Callable[..., Tensor]) -> Tensor:
        """Loss on the outputs; the task's own by default."""
        return task_loss(outputs, target)

    def penalty(self, model: nn.Module) -> Tensor:
        """Scalar added to the loss."""
        return torch.zeros((), device=next(model.parameters()).device)

    def on_epoch(self, model: nn.Module, progress: float, batches: Batches) -> None:
        """Before an epoch."""

    def learning_rate(self, progress: float, schedule: Callable[[float], float]) -> float:
        """Factor of the learning rate; ``schedule`` maps a progress to the optimizer's own."""
        return schedule(progress)

    def proximal(self, model: nn.Module, progress: float, rate: float) -> None:
        """Proximal step of a penalty that stands in no loss, of size ``rate`` (that of ``base``), after an optimizer step."""

    def on_step(self, model: nn.Module, progress: float) -> None:
        """After an optimizer step and its proximal step."""

    @abstractmethod
    def symbols(self, model: nn.Module) -> list[Symbols]:
        """The tensors this method codes, as the decoder will see them; the rest is kept as ``store`` says."""

    def measures(self, model: nn.Module) -> dict[str, float]:
        """Further metrics of this method."""
        return {}

    def shipped_measures(self, network: nn.Module, inputs: Iterable[Tensor]) -> dict[str, float]:
        """Further metrics that only the network decoded from the file tells; ``inputs`` are the validation pictures, in batches."""
        return {}

    def card(self, model: nn.Module) -> dict[str, Any]:
        """What the file's card must say beyond network and data, so that its network can be built (``codebooks.extend``)."""
        return {}

    def bound(self, network: nn.Module) -> dict[str, float]:
        """Least ``size`` (bytes) or ``gops`` these knobs can reach on the dense ``network``, where that is certain before training.

        An entropy coder makes any number of bits small, and dead channels leave the file: most methods have no such bound.
        """
        return {}

    def phases(self, epochs: int) -> Mapping[str, int]:
        """How the budget is divided; the values add up to ``epochs``."""
        return {"train": epochs}

    @classmethod
    def in_progress(cls, knobs: Mapping[str, Any], epochs: int) -> dict[str, Any]:
        """Knobs with whole-number epochs of a budget of ``epochs`` as shares of it."""
        return dict(knobs)

    @classmethod
    def knobs(cls) -> dict[str, Any]:
        """Field names and their defaults."""
        return {f.name: f.default for f in fields(cls)}


def all_tensors(method: Method, model: nn.Module, names: Sequence[str]) -> list[Symbols]:
    """One ``Symbols`` for each of ``names`` (the state of the dense network): the method's own, the rest by ``store``.

    ``num_batches_tracked`` counters serve training alone and are left out; PyTorch restores them on loading.
    """
    coded = {s.name: s for s in method.symbols(model)}
    state = model.state_dict()
    if method.norms == "folded":
        state |= folded_norms(model, coded)
    kept = [n for n in names if not n.endswith("num_batches_tracked")]
    return [coded[n] if n in coded else stored(n, _numbers(n, state[n]), method.store) for n in kept]


def _numbers(name: str, tensor: Tensor) -> np.ndarray[Any, Any]:
    """Of any precision that float32 holds; ValueError for numbers that a file cannot keep as they are."""
    if tensor.is_complex():
        raise ValueError(f"{name}: complex numbers, which a file does not hold")
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
