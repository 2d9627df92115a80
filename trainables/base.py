"""The only class that Ray ever sees: one ``step`` is an epoch.

A subclass fixes the method; the base itself reads ``config["method"]``, for a study over several methods. The config is
plain data: the fields of a ``Recipe``, and ``point`` (the knobs as they were searched). Data, start and device come once
an actor and outlive its trials (``reset_config``).
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import ray
import torch
from ray import tune
from torch import nn

from compress.artifact import save
from compress.metrics import Metrics
from tasks import Task
from trainables.dense import fixed_dense
from trainables.devices import choose_device, use_threads
from trainables.trainer import Diverged, Recipe, Trainer

__all__ = ["CompressionTrainable", "Ground", "recipe_of"]

CHECKPOINT = "trial.pt"


@dataclass(frozen=True)
class Ground:
    """What all trials of a study share: the task with its data, the dense start, where files go, and what a trial gets.

    ``start`` holds numpy arrays, which processes of one node share through Ray's object store; None: random weights.
    ``dense`` is the trained dense network's state where trials do not start from it; None: it is ``start``.
    """

    task: Task
    start: Mapping[str, np.ndarray[Any, Any]] | None
    artifacts: str
    device: str = "auto"
    cpus: float = 1.0
    dense: Mapping[str, np.ndarray[Any, Any]] | None = None


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe in a config, whatever else the config holds."""
    return Recipe(**{f.name: config[f.name] for f in fields(Recipe) if f.name in config})


class CompressionTrainable(tune.Trainable):
    """Trains, ships and measures one epoch a step, and leaves every epoch's file in the study's ``artifacts`` folder."""

    method: ClassVar[str | None] = None

    def setup(self, config: dict[str, Any], ground: Any = None) -> None:
        """Once an actor; ``ground`` (a Ground, or Ray's reference to one) comes through ``tune.with_parameters``."""
        if ground is None:
            raise ValueError(
                "a CompressionTrainable needs its ground: tune.with_parameters(Trainable, ground=Ground(...))"
            )
        if isinstance(ground, ray.ObjectRef):  # one copy a node, shared with whoever else holds the reference
            ground = ray.get(ground)
        use_threads(ground.cpus)
        self.ground, self.device = ground, choose_device(ground.device)
        gc.freeze()  # what was imported lives as long as the actor: between trials only what they left is looked at
        start = ground.start
        self._start = None if start is None else {n: torch.from_numpy(np.array(v)) for n, v in start.items()}
        self._begin(config)

    def _begin(self, config: Mapping[str, Any]) -> None:
        fixed = {"method": self.method} if self.method else {}
        ground = self.ground
        dense = None if ground.start is None and ground.dense is None else lambda: self._dense
        self.trainer = Trainer(ground.task, recipe_of({**config, **fixed}), self._start, self.device, dense)

    @cached_property
    def _dense(self) -> nn.Module:
        """Made for the first trial whose penalties ask for it, and kept for those that follow in this actor."""
        state = self.ground.start if self.ground.dense is None else self.ground.dense
        return fixed_dense(self.ground.task, state, self.device)

    def step(self) -> dict[str, Any]:
        """One epoch's Metrics as plain numbers, with ``artifact`` the name of its file and ``done`` on the last.

        ``evaluation`` is how the accuracy was counted (``tasks.evaluate.Evaluation``): a mapping, and so no metric.

        The first report carries the converted, untrained network too, under ``epoch_0``. A diverged trial reports
        ``failed`` with its ``reason`` and is done; nothing is gained by trying it again.
        """
        trainer, first = self.trainer, {}
        try:
            if trainer.epochs_done == 0:
                first = {"epoch_0": self._report(trainer.measure())}
            report = self._report(trainer.epoch())
        except Diverged as error:
            return {**first, "epoch": trainer.epochs_done, "failed": True, "reason": str(error), "done": True}
        return {**report, **first, "failed": False, "done": trainer.epochs_done >= trainer.recipe.epochs}

    def _report(self, metrics: Metrics) -> dict[str, Any]:
        name = f"{self.trial_id}-e{metrics.epoch:03d}.rf"
        save(Path(self.ground.artifacts) / name, self.trainer.shipped.data)
        measures = {**metrics.measures, **self.trainer.method.measures(self.trainer.model)}
        numbers = {**metrics.plain(), **measures}
        return {**numbers, "measures": list(measures), "artifact": name, "evaluation": self.trainer.evaluation.plain()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Everything a trial needs to go on, loadable without unpickling objects."""
        torch.save(self.trainer.state(), Path(checkpoint_dir) / CHECKPOINT)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a folder that :meth:`save_checkpoint` filled."""
        state = torch.load(Path(checkpoint) / CHECKPOINT, map_location="cpu", weights_only=True)
        self.trainer.restore(state)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this actor: a fresh network from the cached start, the same data and device."""
        self._release()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Free what the trial held."""
        self._release()

    def _release(self) -> None:
        trainer = self.__dict__.pop("trainer", None)
        if trainer is not None and trainer.recipe.compile:
            torch.compiler.reset()  # every trial parametrises anew; compiled code of the last would pile up
        del trainer
        gc.collect()
        if self.__dict__.get("device", torch.device("cpu")).type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
