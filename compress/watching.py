"""The outputs of named layers, as a network gives them in its passes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import finalize, ref

import torch
from torch import Tensor, nn

from compress.method import KnobError
from compress.splits import find_layer

__all__ = ["watch"]


class _Seen(dict[str, Tensor]):
    """A dictionary that can be referred to weakly."""


def watch(network: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """What each of ``names`` gave since the dictionary was last cleared: in training, or from a network that is never trained.

    ``names`` with the knobs that have them; KnobError for a layer that is not there, or gives more than one tensor. Of several
    passes the first counts. The network is watched as long as the dictionary is kept: one that many trials ask outlives them.
    """
    seen = _Seen()
    trained = any(parameter.requires_grad for parameter in network.parameters())
    for name, knob in names.items():
        layer = network.get_submodule(find_layer(knob, name, network))
        hook = layer.register_forward_hook(partial(_note, ref(seen), knob, name, trained))
        finalize(seen, hook.remove)
    return seen


def _note(seen: ref[_Seen], knob: str, name: str, trained: bool, module: nn.Module, _: Any, output: Any) -> None:
    if not isinstance(output, Tensor):
        raise KnobError(f"{knob} = {name!r}: must be a layer that gives one tensor")
    kept = seen()
    if kept is not None and (not trained or (module.training and torch.is_grad_enabled())):
        kept.setdefault(name, output)
