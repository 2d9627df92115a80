"""Devices and threads of a trial."""

from __future__ import annotations

import math

import torch

from tasks import TaskError

__all__ = ["DEVICES", "choose_device", "use_threads"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """``auto``: cuda, else mps, else cpu. TaskError where the named device is not here."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if present[d]))
    if not present.get(name, False):
        here = ", ".join(d for d, there in present.items() if there)
        raise TaskError(f"device = {name!r}: not on this machine, which has {here}")
    return torch.device(name)


def use_threads(cpus: float) -> None:
    """As many threads as CPUs were given, one at least."""
    torch.set_num_threads(max(1, math.floor(cpus)))
