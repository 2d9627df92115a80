"""Where a study starts: weights that are there already, and what they have seen.

Published CIFAR-10 weights have seen the whole training set, and a file of the user's may have: validation and test are
then the halves of the official test part. Only an artifact that says it was trained beside a held-out part keeps that.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.artifact import ArtifactError, decode, read
from compress.codebooks import without_codebooks
from tasks.downloads import Remote, found
from tasks.errors import DataMissing, TaskError

__all__ = ["PUBLISHED", "START_WORDS", "Start", "find_start"]

START_WORDS = ("auto", "published", "train", "scratch")
_AKAMASTER = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"


@dataclass(frozen=True)
class Published:
    """Weights others have published, with the normalisation they were trained with (ImageNet's, as it happens)."""

    file: str
    size: int
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)

    @property
    def remote(self) -> Remote:
        """The file's name carries the beginning of its sha256."""
        return Remote(_AKAMASTER + self.file, self.size, Path(self.file).stem.rpartition("-")[2], "sha256")


PUBLISHED: dict[tuple[str, str], Published] = {
    ("resnet20", "cifar10"): Published("resnet20-12fca82f.th", 1099231),
    ("resnet32", "cifar10"): Published("resnet32-d509ac18.th", 1890043),
    ("resnet44", "cifar10"): Published("resnet44-014dd654.th", 2680855),
    ("resnet56", "cifar10"): Published("resnet56-4bfd9763.th", 3471733),
}


@dataclass(frozen=True)
class Start:
    """``state``: the dense network that everything is measured against, None where it is still to be trained.

    Trials begin at it too, but for the kind ``scratch``, whose trials begin at random weights.
    """

    kind: str
    origin: str
    split: str
    state: Mapping[str, Tensor] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    fingerprint: str | None = None


def find_start(start: str, network: str, plain: bool, data: str, root: Path) -> Start:
    """Resolve ``start``: a word of ``START_WORDS``, a state dict (.pt, .th) or an artifact (.rf).

    ``plain``: the network has no keyword arguments, so that published weights fit it. A state dict says nothing of its
    normalisation: a file with the name of published weights has theirs, any other the data set's own. An artifact
    carries its own.
    """
    if start == "train":
        return Start(start, "trained here", "holdout")
    if start == "scratch":
        return replace(_published("auto", network if plain else "", data, root), kind=start)
    if start in ("auto", "published"):
        return _published(start, network if plain else "", data, root)
    try:
        return _from_file(Path(start).expanduser(), data)
    except RuntimeError as error:
        raise TaskError(f"start = {start!r}: {error}") from error


def _published(start: str, network: str, data: str, root: Path) -> Start:
    entry = PUBLISHED.get((network, data))
    try:
        if entry is None:
            raise DataMissing(f"start = {start!r}: no published weights are known for this network on {data}")
        path = found(entry.remote, root / "pretrained" / entry.file)
    except DataMissing:
        if start == "published":
            raise
        return Start("train", "trained here", "holdout")
    return Start("published", entry.file, "test-halves", _state_dict(path), entry.mean, entry.std)


def _from_file(path: Path, data: str) -> Start:
    if not path.is_file():
        rule = f"must be {', '.join(START_WORDS)}, or a file that exists"
        raise TaskError(f"start = {str(path)!r}: {rule}")
    if path.suffix != ".rf":
        known = next((p for (_, on), p in PUBLISHED.items() if on == data and p.file == path.name), None)
        norm = (known.mean, known.std) if known else (None, None)
        return Start("file", path.name, "test-halves", _state_dict(path), *norm)
    try:
        artifact = decode(read(path))
    except ArtifactError as error:
        raise TaskError(f"start = {str(path)!r}: {error}") from error
    card = artifact.card
    held_out = str(card.get("split", "")).startswith("holdout") and card.get("data") == data
    split = "holdout" if held_out else "test-halves"
    return Start(
        "artifact",
        path.name,
        split,
        without_codebooks(artifact),
        *_normalisation(path, card),
        str(card.get("fingerprint")),
    )


def _normalisation(path: Path, card: Mapping[str, Any]) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    norm = card.get("normalisation") or {"mean": None, "std": None}
    try:
        mean, std = (v if v is None else [float(n) for n in v] for v in (norm["mean"], norm["std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TaskError(f"start = {str(path)!r}: the normalisation in its card must give mean and std") from error
    return mean, std


def _state_dict(path: Path) -> dict[str, Tensor]:
    """A plain state dict, or one under the key ``state_dict``; never a pickle of anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        rule = "must be a state dict, saved by torch.save(network.state_dict(), path)"
        raise TaskError(f"start = {str(path)!r}: does not load safely ({type(error).__name__}); {rule}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not state or not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TaskError(f"start = {str(path)!r}: holds no state dict (a mapping of names to tensors)")
    return {str(name).removeprefix("module."): value for name, value in state.items()}
