"""One trial without Ray: a model, its method, and the epoch loop. Everything a trial does, this does.

Law 1: the state of a trial is ``model.state_dict()``, the optimizer's, and the epoch. Law 2: what is measured is what
is shipped. Law 3: what anneals is a function of progress.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.method import Batches, KnobError
from compress.methods import method_class
from compress.metrics import Macs, Metrics, count_macs, count_weights, original_weights, relative_bops
from compress.norms import restate
from compress.optimizers import OptimizerKnobs, build_optimizer, set_learning_rate
from compress.penalties import Step, build_penalties
from compress.shipping import Shipped, ship
from compress.watching import watch
from tasks import Part, Task
from tasks.batches import generator, training_batches
from tasks.evaluate import tally

__all__ = ["Diverged", "Recipe", "Trainer"]


class Diverged(ArithmeticError):
    """The loss or a weight is no longer a finite number."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One trial as plain data: a method with its knobs, and how to train it. Any process can build it from a config."""

    method: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    penalties: tuple[Mapping[str, Any], ...] = ()
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 1
    images: int | None = None
    seed: int = 0
    precision: str = "float32"
    compile: bool = False


class Trainer:
    """A trial in the making. ``start`` is the dense network's state, None for random weights of the recipe's seed.

    ``dense`` gives the trained dense network, fixed and on the device; it is called only where a penalty asks for it
    (KnobError where there is none), and what it gives is no part of the trial's state.
    """

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        start: Mapping[str, Tensor] | None,
        device: torch.device,
        dense: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.task, self.recipe, self.device = task, recipe, device
        self.method = method_class(recipe.method)(**recipe.knobs)
        self.epochs_done = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = task.build()
            if start is not None:
                model.load_state_dict(dict(start))
            self.weights = original_weights(model)
            self.trainable = {n for n, p in model.named_parameters() if p.requires_grad}
            self.model = model.to(device)
            self.train_part = Part.of(task.data.train, task.data, device)
            self.validation = Part.of(task.data.validation, task.data, device)
            self.method.prepare(self.model, self._inputs(0, "prepare"))
        self.penalties = build_penalties(recipe.penalties)
        self._dense = self._asked_for(dense)
        watched = {name: knob for penalty in self.penalties for name, knob in penalty.watches.items()}
        self._maps = [watch(network, watched) for network in (self.model, self._dense) if network is not None]
        self.knobs = OptimizerKnobs.from_plain(recipe.optimizer)
        self.optimizer = build_optimizer(self.knobs, self.method.parameter_groups(self.model))
        self._forward: Callable[[Tensor], Tensor] = torch.compile(self.model) if recipe.compile else self.model
        self._macs: dict[tuple[Any, ...], Macs] = {}

    @property
    def progress(self) -> float:
        """Share of the epochs done."""
        return self.epochs_done / self.recipe.epochs

    @property
    def images(self) -> int:
        """Images an epoch."""
        return min(self.recipe.images or len(self.train_part), len(self.train_part))

    def epoch(self) -> Metrics:
        """Train one epoch, then ship and measure. Diverged where a number is not finite."""
        started = time.perf_counter()
        self.method.on_epoch(self.model, self.progress, self._inputs(self.epochs_done, "epoch"))
        loss, rate, seen = self._train()
        trained = time.perf_counter() - started
        return self.measure(loss=loss, learning_rate=rate, images_per_second=seen / trained, started=started)

    def train_epoch(self) -> float:
        """Train one epoch without measuring; the mean loss."""
        self.method.on_epoch(self.model, self.progress, self._inputs(self.epochs_done, "epoch"))
        return self._train()[0]

    def measure(
        self,
        loss: float = 0.0,
        learning_rate: float = 0.0,
        images_per_second: float = 0.0,
        started: float | None = None,
    ) -> Metrics:
        """Metrics of the shipped network as it is now; :attr:`shipped` holds that network and its file.

        :attr:`evaluation` holds how many images it classified rightly, and under which conditions.
        """
        started = time.perf_counter() if started is None else started
        self.shipped = self.ship()
        tensors, size = self.shipped.artifact.tensors, self.shipped.artifact.size
        network = self.shipped.network.to(self.device)
        self.evaluation = tally(network, self.validation, self.task.spec.eval_batch_size)
        macs = self._count(network)
        counts = count_weights(tensors, self.trainable, self.weights)
        return Metrics(
            epoch=self.epochs_done,
            loss=loss,
            accuracy=self.evaluation.accuracy,
            rate=8 * size / self.weights,
            size=size,
            ratio=4 * self.weights / size,
            sparsity=counts.sparsity,
            mean_bits=counts.mean_bits,
            parameters=original_weights(network),
            macs=macs.total,
            gops=macs.gops,
            training_gops=macs.training_gops,
            **relative_bops(macs, tensors, self.dense_macs.total),
            learning_rate=learning_rate,
            images_per_second=images_per_second,
            measures=self.method.shipped_measures(network, self._validation_inputs()),
            seconds=time.perf_counter() - started,
        )

    def ship(self) -> Shipped:
        """The file of the model as it is now, and the network decoded from it."""
        if not all(bool(torch.isfinite(v).all()) for v in self.model.state_dict().values() if v.is_floating_point()):
            raise Diverged("a weight is not finite")
        if self.method.norm_images:
            restate(self.model, self._some_inputs(self.method.norm_images))
        card = {**self.task.card(), "method": self.recipe.method, "original_weights": self.weights}
        return ship(self.method, self.model, self.build, card)

    def build(self) -> nn.Module:
        """A fresh dense network of this trial's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return self.task.build()

    @cached_property
    def dense_macs(self) -> Macs:
        """Multiply-accumulates of the dense network."""
        return self._count(self.build())

    def step_seconds(self, steps: int = 3) -> float:
        """Seconds of one training step, the least of ``steps`` after one to warm up. Changes the weights."""
        times = []
        for number, batch in enumerate(self._batches(0)):
            if number > steps:
                break
            started = time.perf_counter()
            float(self.step(*batch, progress=0.0))  # waits for a GPU
            times.append(time.perf_counter() - started)
        return min(times[1:] or times)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors, numbers and strings alone."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epochs_done = int(state["epochs_done"])

    def _train(self) -> tuple[float, float, int]:
        """(mean loss, last learning rate, images seen) of one epoch."""
        self.model.train()
        torch.manual_seed(generator(self.recipe.seed, self.epochs_done, "noise").initial_seed())
        total, rate, seen = torch.zeros((), device=self.device), 0.0, 0
        steps = math.ceil(self.images / self.task.spec.batch_size)
        for number, (inputs, labels) in enumerate(self._batches(self.epochs_done)):
            progress = (self.epochs_done + number / steps) / self.recipe.epochs
            rate = set_learning_rate(self.optimizer, self.knobs, progress, self.method.learning_rate)
            total += self.step(inputs, labels, progress) * len(labels)
            seen += len(labels)
        loss = float(total) / max(seen, 1)
        if not math.isfinite(loss):
            raise Diverged(f"loss is {loss} in epoch {self.epochs_done + 1}")
        self.epochs_done += 1
        return loss, rate, seen

    def step(self, inputs: Tensor, labels: Tensor, progress: float) -> Tensor:
        """One optimizer step on a batch; the loss before it, without a graph."""
        self.optimizer.zero_grad(set_to_none=True)
        self._forget()
        with nullcontext() if self.recipe.compile else parametrize.cached():  # hard weights are made once a step
            with self._precision():
                outputs = self._forward(inputs)
                loss = self.method.loss(self.model, outputs, labels, self.task.loss)
            loss = loss + self.method.penalty(self.model)
            step = self._seen(inputs, outputs, labels)
            for penalty in self.penalties:
                loss = loss + penalty(step)
        loss.backward()
        self.optimizer.step()
        self.method.proximal(self.model, progress, self.optimizer.param_groups[0]["lr"])
        self.method.on_step(self.model, progress)
        self._forget()
        return loss.detach()

    def _forget(self) -> None:
        for maps in self._maps:
            maps.clear()

    def _seen(self, inputs: Tensor, outputs: Tensor, labels: Tensor) -> Step:
        dense = None if self._dense is None else self._dense_logits
        seen = dict(zip(("seen", "dense_seen"), self._maps, strict=False))
        return Step(model=self.model, inputs=inputs, outputs=outputs, target=labels, dense=dense, **seen)

    def _asked_for(self, dense: Callable[[], nn.Module] | None) -> nn.Module | None:
        asking = [spec["name"] for spec, p in zip(self.recipe.penalties, self.penalties, strict=True) if p.needs_dense]
        if not asking:
            return None
        if dense is None:
            raise KnobError(f"penalties: {asking[0]} needs the trained dense network, and this trial has none")
        return dense()

    def _dense_logits(self, inputs: Tensor) -> Tensor:
        assert self._dense is not None
        with self._precision():
            logits: Tensor = self._dense(inputs)
        return logits

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        draw = (self.recipe.seed, epoch)
        return training_batches(self.train_part, self.task.data, self.task.spec.batch_size, self.images, draw)

    def _inputs(self, epoch: int, purpose: str) -> Batches:
        """Training inputs for a method's hooks, drawn apart from those that train."""

        def batches() -> Iterator[Tensor]:
            draw = (int(generator(self.recipe.seed, epoch, purpose).initial_seed()), epoch)
            size = self.task.spec.batch_size
            yield from (x for x, _ in training_batches(self.train_part, self.task.data, size, None, draw))

        return batches

    def _some_inputs(self, images: int) -> Iterator[Tensor]:
        """Training inputs as evaluation sees them, always the same."""
        some = self.train_part.images[:: max(1, len(self.train_part) // images)]
        for batch in some.split(self.task.spec.batch_size):
            yield self.train_part.normalise(batch)

    def _validation_inputs(self) -> Iterator[Tensor]:
        """As evaluation sees them."""
        for batch in self.validation.images.split(self.task.spec.eval_batch_size):
            yield self.validation.normalise(batch)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _count(self, network: nn.Module) -> Macs:
        shapes = tuple((name, tuple(p.shape)) for name, p in network.named_parameters())
        if shapes not in self._macs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._macs[shapes] = count_macs(network, self.task.data.input_shape)
        return self._macs[shapes]
