"""A study's task once more, of study.yaml and the data that are here, and the networks of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analysis.studies import BadStudy, Origin, origin_of
from compress.artifact import Artifact, ArtifactError, load_into
from tasks import Data, DataMissing, Part, Task, TaskError, TaskSpec
from tasks.data import split_source
from tasks.datasets import read_source
from tasks.networks import build_network

__all__ = ["Rebuilt", "dense_network", "rebuild"]


@dataclass(frozen=True)
class Rebuilt:
    """A study's ``task``, whose data are not normalised: each file's card says how its network wants them."""

    origin: Origin
    task: Task

    @cached_property
    def fingerprint(self) -> str:
        """Of the data as they are here."""
        return self.task.data.fingerprint

    def part(self, name: str, artifact: Artifact, device: torch.device) -> Part:
        """The part ``validation`` or ``test`` as the file's network wants it; BadStudy where it was made on other data."""
        told, data = artifact.card.get("fingerprint"), self.task.data
        if told != self.fingerprint:
            raise BadStudy(f"data here are {self.fingerprint!r}, the file's {told!r}; --data-root says where data lie")
        return Part.of(getattr(data, name), data.normalised(*_normalisation(artifact.card)), device)

    def network(self, artifact: Artifact) -> nn.Module:
        """The network of a file; ArtifactError where its tensors do not fit, BadStudy where none can be built."""
        try:
            with torch.random.fork_rng(devices=[]):
                return load_into(self.task.build(), artifact)
        except TaskError as error:
            raise BadStudy(str(error)) from error


def rebuild(folder: Path, root: Path) -> Rebuilt:
    """The task of the study in ``folder``, its data under ``root``; BadStudy where they are not to be had.

    No start is looked for: what it has to say of the data is in study.yaml and in every card.
    """
    origin = origin_of(folder)
    spec = _spec(folder, origin)
    return Rebuilt(origin, Task(spec, replace(_data(spec, origin, root), image_size=spec.image_size)))


def dense_network(folder: Path, card: Mapping[str, Any]) -> nn.Module:
    """A fresh dense network of the study in ``folder``, for a file with this card; no data are read."""
    spec = _spec(folder, origin_of(folder))
    try:
        with torch.random.fork_rng(devices=[]):
            shape, classes = tuple(card["input_shape"]), len(card["classes"])
            return build_network(spec.network, shape, classes, dict(spec.network_arguments))
    except (TaskError, KeyError, TypeError) as error:
        raise BadStudy(f"{folder}: its network cannot be built ({error})") from error


def _spec(folder: Path, origin: Origin) -> TaskSpec:
    """The task by name, from the resolved section of study.yaml."""
    known = {f.name for f in fields(TaskSpec)}
    plain: dict[str, Any] = {key: value for key, value in origin.task.items() if key in known}
    network = plain.get("network")
    arguments = {k: v for k, v in network.items() if k != "name"} if isinstance(network, Mapping) else {}
    name = network.get("name") if isinstance(network, Mapping) else network
    whole = [plain.get("workers", 0), plain.get("image_size") or 0]
    if not isinstance(name, str) or not all(type(n) is int and n >= 0 for n in whole):
        raise BadStudy(f"{folder / 'study.yaml'}: resolved.task = {dict(origin.task)}: describes no task")
    return TaskSpec(**{**plain, "network": name, "network_arguments": arguments})


def _data(spec: TaskSpec, origin: Origin, root: Path) -> Data:
    """As the study divided them."""
    try:
        source = read_source(spec.data, root, spec.image_size, spec.workers)
        data = split_source(source, origin.split.rpartition("-")[0])
    except DataMissing as error:
        raise BadStudy(f"{error}; --data-root or RATEFRONT_DATA says where data lie (now {root})") from error
    except TaskError as error:
        raise BadStudy(f"{error}; study.yaml names it as seen from where the search was run") from error
    if data.split != origin.split:
        raise BadStudy(f"data = {spec.data!r}: divided as {data.split} here, as {origin.split} in study.yaml")
    return data


def _normalisation(card: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    try:
        mean, std = ([float(n) for n in card["normalisation"][key]] for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("card: normalisation must give mean and std") from error
    return mean, std
