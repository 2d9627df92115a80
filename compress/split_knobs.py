"""The entries of the lists ``codebooks`` and ``prune_channels``, read strictly: an unknown key or a wrong number is one line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from compress.method import KnobError
from compress.quantized import require
from compress.schedules import Beta, parse_beta
from compress.splits import AUTO, layer_path

__all__ = ["ChannelEntry", "CodebookEntry", "in_shares", "read_beta"]

_ROUNDING = 1e-9
_MOST = 4096  # codewords
_EVENTS = ("prune_epochs", "prune_ns")


@dataclass(frozen=True, kw_only=True)
class Events(ABC):
    """What happens when: at each share of the epochs in ``prune_epochs`` the number in ``prune_ns``."""

    prune_epochs: tuple[float, ...] = ()
    prune_ns: tuple[int, ...] = ()

    def _past(self, progress: float) -> list[int]:
        """The numbers of all events until now."""
        return [n for e, n in zip(self.prune_epochs, self.prune_ns, strict=True) if progress >= e - _ROUNDING]

    @abstractmethod
    def gone(self, progress: float) -> int:
        """How many are gone now."""

    @property
    def last(self) -> float | None:
        """The share at which their number last changes; None where it never does."""
        changes = [e for e in self.prune_epochs if self.gone(e) != self.gone(e - 2 * _ROUNDING)]
        return max(changes, default=None)


@dataclass(frozen=True, kw_only=True)
class CodebookEntry(Events):
    """One codebook; ``hidden_dim`` None: the layer's channels."""

    layer: str
    hidden_dim: int | None
    codebook_size: int
    beta: Beta

    @classmethod
    def read(cls, knob: str, plain: Mapping[str, Any], beta: float | str) -> CodebookEntry:
        """From plain data; ``beta`` is what an entry without one has."""
        _keys(knob, plain, ("layer", "hidden_dim", "codebook_size", "beta", *_EVENTS))
        layer, size = plain.get("layer", AUTO), plain.get("codebook_size", 16)
        layer_path(f"{knob}.layer", layer)
        _whole(f"{knob}.codebook_size", size, 2, _MOST)
        width = plain.get("hidden_dim")
        if width is not None:
            _whole(f"{knob}.hidden_dim", width, 1, _MOST)
        epochs, ns = _events(knob, plain)
        rule = f"must leave two of the {size} codewords in all"
        require(f"{knob}.prune_ns", list(ns), rule, sum(ns) <= size - 2)
        schedule = read_beta(f"{knob}.beta", plain.get("beta", beta))
        return cls(layer=layer, hidden_dim=width, codebook_size=size, beta=schedule, prune_epochs=epochs, prune_ns=ns)

    def gone(self, progress: float) -> int:
        """Codewords dropped until now: the numbers add up."""
        return sum(self._past(progress))


@dataclass(frozen=True, kw_only=True)
class ChannelEntry(Events):
    """Channels of one layer."""

    layer: str

    @classmethod
    def read(cls, knob: str, plain: Mapping[str, Any]) -> ChannelEntry:
        """From plain data."""
        _keys(knob, plain, ("layer", *_EVENTS))
        layer = plain.get("layer")
        require(f"{knob}.layer", layer, "must be a path to a layer; only codebooks find theirs", layer != AUTO)
        layer_path(f"{knob}.layer", layer)
        epochs, ns = _events(knob, plain)
        return cls(layer=plain["layer"], prune_epochs=epochs, prune_ns=ns)

    @property
    def most(self) -> int:
        """Channels that are ever gone at once."""
        return max(self.prune_ns, default=0)

    def gone(self, progress: float) -> int:
        """Channels that are masked now: the number of the last event."""
        return ([0, *self._past(progress)])[-1]


def in_shares(entries: Any, epochs: int) -> Any:
    """The same entries, with whole-number ``prune_epochs`` as shares of so many epochs; what is no such list as it is."""
    if not isinstance(entries, (list, tuple)):
        return entries
    return [_entry_in_shares(entry, epochs) for entry in entries]


def _entry_in_shares(entry: Any, epochs: int) -> Any:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("prune_epochs"), (list, tuple)):
        return entry
    shares = [e / epochs if type(e) is int and 1 <= e < epochs else e for e in entry["prune_epochs"]]
    return {**entry, "prune_epochs": shares}


def read_beta(knob: str, value: Any) -> Beta:
    """A schedule; KnobError with what it must be."""
    try:
        return parse_beta(value)
    except (TypeError, ValueError) as error:
        raise KnobError(f"{knob} = {value!r}: {error}") from error


def _keys(knob: str, plain: Any, allowed: Sequence[str]) -> None:
    if not isinstance(plain, Mapping):
        raise KnobError(f"{knob} = {plain!r}: must be a mapping with the keys {', '.join(allowed)}")
    for key in plain:
        close = get_close_matches(str(key), allowed, 1)
        nearest = f"; did you mean {close[0]}?" if close else f"; they are {', '.join(allowed)}"
        require(f"{knob}.{key}", plain[key], f"no such key{nearest}", key in allowed)


def _events(knob: str, plain: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    epochs, ns = (() if plain.get(name) is None else plain[name] for name in _EVENTS)
    for name, values in zip(_EVENTS, (epochs, ns), strict=True):
        require(f"{knob}.{name}", values, "must be a list of numbers", isinstance(values, (list, tuple)))
    require(
        f"{knob}.prune_ns",
        list(ns),
        f"must have as many numbers as prune_epochs, {len(epochs)}",
        len(ns) == len(epochs),
    )
    for number, n in enumerate(ns):
        _whole(f"{knob}.prune_ns.{number}", n, 0, _MOST)
    shares = all(isinstance(e, (int, float)) and not isinstance(e, bool) and 0 <= e < 1 for e in epochs)
    rule = "must lie in [0, 1), shares of the epochs (in a space also whole epochs below its budget)"
    require(f"{knob}.prune_epochs", list(epochs), rule, shares)
    require(f"{knob}.prune_epochs", list(epochs), "must not go down", list(epochs) == sorted(epochs))
    return tuple(map(float, epochs)), tuple(ns)


def _whole(knob: str, value: Any, least: int, most: int) -> None:
    require(
        knob, value, f"must be a whole number from {least} to {most}", type(value) is int and least <= value <= most
    )
