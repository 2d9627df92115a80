"""The dense network that a study starts from and is measured against: given, or trained once and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks import Task, TaskError, evaluate
from tasks.starts import Start
from trainables.devices import choose_device, use_threads
from trainables.trainer import Diverged, Recipe, Trainer

__all__ = ["Dense", "Price", "StartTooLong", "fixed_dense", "make_dense", "price_of"]

Say = Callable[[str], None]
_DECAY = 1e-2


class StartTooLong(TaskError):
    """A dense network whose training does not fit the time budget of its study."""


@dataclass(frozen=True)
class Dense:
    """``accuracy`` on validation data, ``weights`` trainable parameters, ``size`` their bytes as float32."""

    state: Mapping[str, np.ndarray[Any, Any]]
    origin: str
    accuracy: float
    weights: int
    gops: float

    @property
    def size(self) -> int:
        """Bytes of the weights as float32: the size that every ratio is against."""
        return 4 * self.weights


@dataclass(frozen=True)
class Price:
    """What a trial costs on the machine that was measured."""

    step_seconds: float
    epoch_seconds: float
    trial_seconds: float
    test_seconds: float


def make_dense(task: Task, start: Start, seed: int, device: str, say: Say = print, until: float | None = None) -> Dense:
    """Load the start, or train it once with half the cores and keep it by fingerprint; then measure it.

    ``until``: seconds since the epoch at which the study ends; StartTooLong where the training would leave too little.
    """
    threads = torch.get_num_threads()
    use_threads((os.cpu_count() or 2) // 2)  # every core at once is slower than one where others run too
    try:
        place = choose_device(device)
        state, origin = (
            (start.state, start.origin) if start.state is not None else _trained(task, seed, place, until, say)
        )
        trainer = Trainer(task, _recipe(task, seed), None, place)
        _fill(trainer, state, origin)
        accuracy = evaluate(trainer.model, trainer.validation, task.spec.eval_batch_size)
    finally:
        torch.set_num_threads(threads)
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in trainer.model.state_dict().items()}
    return Dense(arrays, origin, accuracy, trainer.weights, 2 * trainer.dense_macs.total / 1e9)


def fixed_dense(task: Task, state: Mapping[str, np.ndarray[Any, Any]] | None, device: torch.device) -> nn.Module:
    """The dense network on ``device`` in evaluation mode, for penalties to ask: nothing in it is trained.

    ``state`` None: random weights, which cost the same time.
    """
    with torch.random.fork_rng(devices=[]):
        network = task.build()
    if state is not None:
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    return network.to(device).eval().requires_grad_(False)


def price_of(task: Task, recipe: Recipe, device: str, cpus: float) -> Price:
    """Measure one training step and one evaluation, with the threads a trial gets."""
    threads = torch.get_num_threads()
    use_threads(cpus)
    try:
        place = choose_device(device)
        trainer = Trainer(task, recipe, None, place, lambda: fixed_dense(task, None, place))
        step = trainer.step_seconds()
        started = time.perf_counter()
        whole = trainer.validation
        sample = replace(whole, images=whole.images[:500], labels=whole.labels[:500])
        evaluate(trainer.model, sample, task.spec.eval_batch_size)
        evaluation = (time.perf_counter() - started) * len(whole) / len(sample)
    finally:
        torch.set_num_threads(threads)
    epoch = step * trainer.images / task.spec.batch_size + evaluation
    return Price(
        step, epoch, epoch * recipe.epochs + evaluation, evaluation * len(task.data.test) / len(trainer.validation)
    )


def _recipe(task: Task, seed: int) -> Recipe:
    optimizer = {"name": "adamw", "base": {"lr": task.spec.start_lr, "weight_decay": _DECAY}, "schedule": "cosine"}
    return Recipe(method="baseline", optimizer=optimizer, epochs=max(1, task.spec.start_epochs), seed=seed)


def _fill(trainer: Trainer, state: Mapping[str, Tensor], origin: str) -> None:
    try:
        trainer.model.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise TaskError(f"start = {origin!r}: does not fit network {trainer.task.spec.network!r} ({reason})") from error


def _trained(
    task: Task, seed: int, device: torch.device, until: float | None, say: Say
) -> tuple[Mapping[str, Tensor], str]:
    path = _cache() / f"{_fingerprint(task, seed)}.pt"
    try:
        if path.exists():
            state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
            return state, "trained here before"
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        say(f"{path} is damaged; training the dense network again")
    trainer = Trainer(task, _recipe(task, seed), None, device)
    epochs, started = trainer.recipe.epochs, time.perf_counter()
    if until is not None:
        _refuse_long(task, trainer, Trainer(task, trainer.recipe, None, device).step_seconds(), until)
    what = f"no trained {task.spec.network} for {task.data.name}"
    say(f"{what}: training it once, {epochs} epochs of {trainer.images:,} images")
    for number in range(epochs):
        try:
            loss = trainer.train_epoch()
        except Diverged as error:
            reason = f"does not train ({error}); give trained weights"
            raise TaskError(f"start: the dense {task.spec.network} {reason}") from error
        left = (time.perf_counter() - started) / (number + 1) * (epochs - number - 1)
        if number == 0 or number + 1 == epochs:
            say(f"  epoch {number + 1}/{epochs}: loss {loss:.3f}, about {left:.0f} s left")
    state = {name: tensor.detach().cpu() for name, tensor in trainer.model.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(state, fresh)
        os.replace(fresh, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        say(f"{path} cannot be kept ({error}); the next study trains the dense network again")
    return state, "trained here"


def _refuse_long(task: Task, trainer: Trainer, step_seconds: float, until: float) -> None:
    """StartTooLong where the training would leave less than half of the time for the trials."""
    epochs = trainer.recipe.epochs
    needed = step_seconds * trainer.images / task.spec.batch_size * epochs
    if time.time() + 2 * needed > until:
        what = f"start: training the dense {task.spec.network} on {task.data.name} for {epochs} epochs takes about {needed:.0f} s"
        raise StartTooLong(
            f"{what} and does not fit the time budget; --set task.start_epochs=N makes it shorter, task.start=FILE needs none"
        )


def _cache() -> Path:
    return Path(os.environ.get("RATEFRONT_CACHE", "~/.cache/ratefront")).expanduser() / "starts"


def _fingerprint(task: Task, seed: int) -> str:
    """Changes with the network, the images, the split, the recipe, and the source of a network of the user's."""
    spec, data = task.spec, task.data
    parts: list[Any] = [spec.network, sorted(spec.network_arguments.items()), data.fingerprint, data.input_shape]
    parts += [list(data.mean), list(data.std), data.flip, data.pad]
    parts += [spec.start_epochs, spec.batch_size, seed, spec.start_lr, _DECAY]
    if ":" in spec.network:
        found = importlib.util.find_spec(spec.network.partition(":")[0])
        parts.append(Path(found.origin).read_text() if found and found.origin else "")
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return f"{spec.network.replace(':', '.')}-{task.data.name}-{digest}"
