"""The half of a divided network that a device runs: everything up to the codebook, and the codebook's scores."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compress.codebooks import CodebookLayer, Reached, codebooks_of
from compress.codecs import CODECS
from compress.graph import meta_twin
from compress.ranged import has_constriction

__all__ = [
    "DeviceHalf",
    "coded_bits",
    "decode_places",
    "device_half",
    "encode_places",
    "head_tensors",
    "is_half",
    "working_codebook",
]

Places = NDArray[np.int64]
_FEW = 256


class DeviceHalf(nn.Module):
    """Pictures to the places (N, ...) that are sent; the network's layers behind the codebook are gone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with working_codebook(self.network).asking("sent"):
            try:
                self.network(x)
            except Reached as reached:
                return reached.value
        raise RuntimeError("the network did not come to its codebook")


def is_half(card: Mapping[str, Any]) -> bool:
    """Whether a file holds the device's half alone."""
    return card.get("half") == "device" and isinstance(card.get("codebooks"), list)


def working_codebook(network: nn.Module) -> CodebookLayer:
    """The one that the network works with."""
    return next(layer for layer in codebooks_of(network) if layer.active)  # a card names one


def device_half(network: nn.Module, input_shape: Sequence[int], keep: bool = False) -> DeviceHalf:
    """Of a network whose codebook works; of a copy, unless ``keep`` is false and the network itself may be cut."""
    network = copy.deepcopy(network) if keep else network
    called = _called(network, input_shape)
    behind = [n for n, _ in network.named_modules() if n and not any(f"{c}.".startswith(f"{n}.") for c in called)]
    for name in behind:
        owner, _, child = name.rpartition(".")
        if owner not in behind:
            network.get_submodule(owner)._modules[child] = nn.Identity()
    return DeviceHalf(network)


def head_tensors(network: nn.Module, input_shape: Sequence[int]) -> list[str]:
    """Names of the tensors of the device's half."""
    return list(device_half(network, input_shape, keep=True).network.state_dict())


def _called(network: nn.Module, input_shape: Sequence[int]) -> set[str]:
    """Names of the modules, and owners of the tensors, that are there before the codebook sends; run on the meta device."""
    called: set[str] = set()
    twin = meta_twin(network)
    for name, module in twin.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
    with torch.no_grad():
        DeviceHalf(twin)(torch.empty(1, *input_shape, device="meta"))
    if isinstance(network, fx.GraphModule):  # tensors may be read without a call of their owner
        names = [str(n.target) for n in network.graph.nodes if n.op in ("call_module", "get_attr")]
        called |= {name.rpartition(".")[0] for name in names[: max(i for i, n in enumerate(names) if n in called)]}
    return called


def coded_bits(maps: Iterable[Places], common: Sequence[int]) -> list[int]:
    """Bits of each map of places by our entropy coder, a map a picture: real bytes, times 8."""
    return [8 * len(encode_places(places, common)) for places in maps]


def encode_places(places: Places, common: Sequence[int]) -> bytes:
    """One picture's map of places as bytes; ``common`` are all places, those first that are sent most often.

    Coded are integers of the magnitude that fits how often a place is sent: 0, -1, 1, -2, 2, ... down ``common``.
    """
    coded = _labels(common)[np.atleast_1d(places)]
    data = CODECS[_coder()].encode(coded)
    return CODECS["int8"].encode(coded) if _plain(coded.size, common) and len(data) >= coded.size else data


def decode_places(data: bytes, shape: Sequence[int], common: Sequence[int]) -> Places:
    """The inverse; ValueError for bytes that are no such map."""
    whole = math.prod(shape)
    codec = "int8" if _plain(whole, common) and len(data) == whole else _coder()  # coded is shorter, where plain may be
    coded = CODECS[codec].decode(data, tuple(shape) or (1,)).astype(np.int64)
    ranks = np.where(coded < 0, -2 * coded - 1, 2 * coded)
    if ranks.max(initial=0) >= len(common):
        raise ValueError(f"a place beyond the {len(common)} that there are")
    found: Places = np.asarray(common, np.int64)[ranks].reshape(shape)
    return found


def _labels(common: Sequence[int]) -> Places:
    labels, ranks = np.empty(len(common), np.int64), np.arange(len(common))
    labels[list(common)] = np.where(ranks % 2 == 0, ranks // 2, -(ranks + 1) // 2)
    return labels


def _plain(places: int, common: Sequence[int]) -> bool:
    """Whether a byte a place may be less than what a coder needs."""
    return places <= _FEW and len(common) < _FEW


def _coder() -> str:
    return "context" if has_constriction() else "lzma"
