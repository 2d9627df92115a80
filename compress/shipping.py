"""Shipping: a trained model becomes a file, and the file becomes the network that is measured.

``ship`` is the only road from a model to its accuracy, rate, size and GOps: it encodes, decodes what it encoded, and
fills a fresh network with the decoder's weights. Channels that are zero in those weights, or lead nowhere, leave on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from compress.artifact import Artifact, ArtifactError, decode, encode, load_into
from compress.codebooks import extend
from compress.graph import trace
from compress.halves import head_tensors, is_half
from compress.method import Method, all_tensors
from compress.reach import reach
from compress.symbols import Symbols

__all__ = ["Shipped", "device_file", "ship", "without_dead"]


@dataclass(frozen=True)
class Shipped:
    """``network`` in evaluation mode with the decoded weights, ``data`` the file it came from."""

    network: nn.Module
    artifact: Artifact
    data: bytes


def ship(method: Method, model: nn.Module, build: Callable[[], nn.Module], card: Mapping[str, Any]) -> Shipped:
    """``build()`` makes the dense network; its state names every tensor that the file must hold."""
    card = {**card, **method.card(model)}
    network = extend(build(), card)
    tensors = all_tensors(method, model, list(network.state_dict()))
    data = encode(card, without_dead(network, tensors, card.get("input_shape")))
    artifact = decode(data)
    return Shipped(load_into(network, artifact), artifact, data)


def device_file(artifact: Artifact, network: nn.Module) -> bytes:
    """The bytes of the device's half of a divided network's file; ``network`` is the dense one. ArtifactError where it is not divided."""
    if not isinstance(artifact.card.get("codebooks"), list) or is_half(artifact.card):
        raise ArtifactError("card: names no codebooks, so that there is no half to take")
    try:
        names = set(head_tensors(extend(network, artifact.card), artifact.card["input_shape"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"card: describes no network that can be divided ({error})") from error
    return encode({**artifact.card, "half": "device"}, [t for t in artifact.tensors if t.name in names])


def without_dead(
    network: nn.Module, tensors: Sequence[Symbols], input_shape: Sequence[int] | None
) -> Sequence[Symbols]:
    """The tensors of ``network``, cut to the channels that its decoded weights keep alive; as they are where it cannot be traced."""
    state = {t.name: t.weights() for t in tensors}
    if input_shape is None or not any(_null(name, w) for name, w in state.items()):
        return tensors
    graph = trace(network, input_shape)
    if graph is None:
        return tensors
    layers = reach(graph, state).layers
    found = []
    for tensor in tensors:
        kept = layers.get(tensor.name.rpartition(".")[0])
        if kept is None:
            found.append(tensor)
            continue
        wide = tensor.index.ndim > 1 and kept.columns is not None and tensor.index.shape[1] == len(kept.columns)
        parts = (kept.rows, kept.columns if wide else None)
        found.append(tensor.cut(*(None if p is None or p.all() else p for p in parts)))
    return found


def _null(name: str, weights: np.ndarray[Any, Any]) -> bool:
    """Whether a row or a column is zeros alone: without one every channel is alive."""
    if not name.endswith("weight") or not weights.ndim:
        return False
    some = weights != 0
    rows = some.reshape(len(some), -1).any(1)
    return not rows.all() or (weights.ndim > 1 and not some.swapaxes(0, 1).reshape(some.shape[1], -1).any(1).all())
