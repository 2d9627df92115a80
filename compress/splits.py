"""Where a network may be divided: layers by path, and the layers that everything passes through.

A path is text (``layer1[2].bn1``), read by a pattern and looked up; it is never executed. A *cut* is a layer without which the
outputs know nothing of the input: what goes around it, as a shortcut does, would have to be sent too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from compress.method import KnobError
from compress.metrics import count_macs

__all__ = ["AUTO", "find_layer", "halfway", "is_cut", "layer_path"]

AUTO = "auto"
_PATH = re.compile(r"(?:\w+|\[\d+\])(?:\.\w+|\[\d+\])*")
_SILENT = 1e-6  # outputs that differ by less, relative to the largest, are one
_SHARE = 0.5  # of the work, that a device may do at most


def layer_path(knob: str, value: Any) -> str:
    """``layer1[2].bn1`` as ``layer1.2.bn1``; KnobError for anything but a path."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise KnobError(f"{knob} = {value!r}: must be a path to a layer, such as layer1[2].bn1, or {AUTO}")
    return re.sub(r"\[(\d+)\]", r".\1", value).lstrip(".")


def find_layer(knob: str, value: str, network: nn.Module) -> str:
    """The dotted name of a layer that is there; KnobError with the nearest names otherwise."""
    path = layer_path(knob, value)
    names = [name for name, module in network.named_modules() if name and type(module).forward is not _NONE]
    if path not in names:
        close = get_close_matches(path, names, 3)
        nearest = f"; did you mean {' or '.join(map(_written, close))}?" if close else ""
        raise KnobError(f"{knob} = {value!r}: the network has no such layer{nearest}")
    return path


_NONE = nn.Module.forward


def _written(path: str) -> str:
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)


@torch.no_grad()
def is_cut(network: nn.Module, path: str, batch: Tensor) -> bool:
    """Whether it is called once, gives one tensor with channels, and the outputs depend on the input through it alone."""
    calls: list[Any] = []
    ramp = torch.linspace(0, 1, batch[0].numel(), device=batch.device, dtype=batch.dtype).reshape(batch[0].shape)
    batch = torch.cat([batch, batch[:1] + ramp])  # pictures that are all alike would tell nothing

    def silence(module: nn.Module, args: Any, output: Any) -> Any:
        calls.append(output)
        return torch.zeros_like(output) if isinstance(output, Tensor) else output

    handle = network.get_submodule(path).register_forward_hook(silence)
    try:
        with _resting(network):
            outputs = network(batch)
    finally:
        handle.remove()
    plain = len(calls) == 1 and isinstance(calls[0], Tensor) and calls[0].dim() > 1
    spread = (outputs - outputs[:1]).abs().max()
    return plain and len(calls[0]) == len(batch) and bool(spread <= _SILENT * outputs.abs().max())


@torch.no_grad()
def halfway(network: nn.Module, batch: Tensor) -> str:
    """The last cut before which a device does at most half of the work; the first of all where none is that early."""
    done = _order(network, batch)
    work = count_macs(network, batch.shape[1:])
    early: list[str] = []
    late: list[str] = []
    spent = 0
    for name in done:
        spent += work.layers.get(name, 0)
        (early if spent <= _SHARE * work.total else late).append(name)
    for name in [*reversed(early), *late]:
        if is_cut(network, name, batch):
            return name
    raise KnobError(f"codebooks: the network has no layer that everything passes through, so that {AUTO} finds none")


def _order(network: nn.Module, batch: Tensor) -> list[str]:
    """Names of all layers but the network itself, in the order in which they are done."""
    done: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: done.append(name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with _resting(network):
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(done))


@contextmanager
def _resting(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, and back."""
    modes: Sequence[tuple[nn.Module, bool]] = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
