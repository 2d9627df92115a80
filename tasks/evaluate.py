"""The one evaluation loop: float32, TF32 off, inference mode; and the record of how a count was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from tasks.batches import Part
from tasks.errors import TaskError

__all__ = ["CONDITIONS", "Evaluation", "evaluate", "tally"]

CONDITIONS = ("device", "dtype", "batch_size", "memory_format", "threads")
MOST = {"threads": 1024, "batch_size": 1 << 20}  # more is a slip, or worse
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """``correct`` right answers of ``images``, and the conditions they were counted under.

    ``device`` is a device's type, ``dtype`` that of the inputs, ``threads`` those PyTorch computes with on the CPU.
    ``memory_format``: ``channels_last`` only where the inputs' strides are not those of ``contiguous`` too, as they are
    in pictures of one channel.
    """

    correct: int
    images: int
    device: str
    dtype: str
    batch_size: int
    memory_format: str
    threads: int

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return self.correct / self.images

    def plain(self) -> dict[str, Any]:
        """Field names and values, as a trial reports them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any) -> Evaluation:
        """The inverse of :meth:`plain`; TaskError for anything else."""
        if not isinstance(plain, Mapping) or not plain:
            raise TaskError(f"evaluation = {plain!r}: must say how the accuracy was counted")
        given: dict[str, Any] = {f.name: plain.get(f.name) for f in fields(cls)}
        for field in fields(cls):
            value = given[field.name]
            if field.type == "str" and not isinstance(value, str):
                raise TaskError(f"evaluation.{field.name} = {value!r}: must be a text")
            if field.type == "int":
                least, most = int(field.name != "correct"), MOST.get(field.name, 2**31)
                if type(value) is not int or not least <= value <= most:
                    rule = f"must be a whole number from {least} to {most}"
                    raise TaskError(f"evaluation.{field.name} = {str(value)[:40]}: {rule}")
        if given["correct"] > given["images"]:
            raise TaskError(f"evaluation.correct = {given['correct']}: must be at most images = {given['images']}")
        if given["memory_format"] not in _FORMATS:
            raise TaskError(f"evaluation.memory_format = {given['memory_format']!r}: must be {' or '.join(_FORMATS)}")
        return cls(**given)

    def differing(self, other: Evaluation) -> list[str]:
        """Names of the conditions that are not the same in both."""
        return [name for name in CONDITIONS if getattr(self, name) != getattr(other, name)]


def evaluate(network: nn.Module, part: Part, batch_size: int = 100) -> float:
    """Share of ``part`` that ``network`` classifies rightly, in [0, 1]."""
    return tally(network, part, batch_size).accuracy


def tally(network: nn.Module, part: Part, batch_size: int = 100, memory_format: str | None = None) -> Evaluation:
    """Count the images of ``part`` that ``network`` classifies rightly.

    ``memory_format``: ``contiguous`` or ``channels_last`` pictures in place of what the part gives.
    """
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=part.labels.device)
    fed: list[tuple[str, str]] = []
    with torch.inference_mode(), _exact():
        for images, labels in zip(part.images.split(batch_size), part.labels.split(batch_size), strict=True):
            inputs = part.normalise(images)
            if memory_format is not None and inputs.dim() == 4:
                inputs = inputs.contiguous(memory_format=_FORMATS[memory_format])
            fed.append((str(inputs.dtype).removeprefix("torch."), _layout(inputs)))
            correct += (network(inputs).argmax(1) == labels).sum()
    dtype, layout = fed[0]  # a last batch of one image may have the strides of either format
    return Evaluation(
        correct=int(correct),
        images=len(part),
        device=part.labels.device.type,
        dtype=dtype,
        batch_size=batch_size,
        memory_format=layout,
        threads=torch.get_num_threads(),
    )


def _layout(inputs: Tensor) -> str:
    """Of ``_FORMATS``, by the strides."""
    if inputs.dim() != 4 or inputs.is_contiguous():
        return "contiguous"
    return "channels_last" if inputs.is_contiguous(memory_format=torch.channels_last) else "contiguous"


@contextmanager
def _exact() -> Iterator[None]:
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held
