"""Shipping: a trained model becomes a file, and the file becomes the network that is measured.

``ship`` is the only road from a model to its accuracy, rate, size and GOps: it encodes, decodes what it encoded, and
fills a fresh network with the decoder's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from compress.artifact import Artifact, decode, encode, load_into
from compress.method import Method, all_tensors

__all__ = ["Shipped", "ship"]


@dataclass(frozen=True)
class Shipped:
    """``network`` in evaluation mode with the decoded weights, ``data`` the file it came from."""

    network: nn.Module
    artifact: Artifact
    data: bytes


def ship(method: Method, model: nn.Module, build: Callable[[], nn.Module], card: Mapping[str, Any]) -> Shipped:
    """``build()`` makes the dense network; its state names every tensor that the file must hold."""
    network = build()
    data = encode(card, all_tensors(method, model, list(network.state_dict())))
    artifact = decode(data)
    return Shipped(load_into(network, artifact), artifact, data)
