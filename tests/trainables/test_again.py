"""A trial once more: by its own seed it is the same trial, by another it is not."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import OPTIMIZER, tiny_start, tiny_task
from trainables.again import retrain
from trainables.base import Ground
from trainables.trainer import Recipe, Trainer

CONFIG = {"method": "uniform", "knobs": {}, "optimizer": OPTIMIZER, "epochs": 3, "seed": 5, "point": {}}
TIMES = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def ground():
    start = {name: value.numpy() for name, value in tiny_start().items()}
    return Ground(task=tiny_task(), start=start, artifacts="unused", device="cpu")


@pytest.fixture(scope="module")
def trial():
    """Metrics of every epoch, as the trial itself reports them."""
    recipe = Recipe(method="uniform", optimizer=OPTIMIZER, epochs=3, seed=5)
    trainer = Trainer(tiny_task(), recipe, tiny_start(), torch.device("cpu"))
    return [trainer.measure().plain(), *(trainer.epoch().plain() for _ in range(3))]


def told(metrics):
    return {name: value for name, value in metrics.items() if name not in TIMES}


def test_the_same_seed_is_the_same_trial_at_the_epochs_asked_for(ground, trial):
    found = retrain(ground, CONFIG, [2, 0])
    assert [m["epoch"] for m in found] == [0, 2]
    for metrics in found:
        expected = told(trial[int(metrics["epoch"])])
        assert {name: metrics[name] for name in expected} == expected


def test_another_seed_is_another_training(ground, trial):
    (found,) = retrain(ground, {**CONFIG, "seed": 6}, [2])
    assert found["loss"] != trial[2]["loss"]


def test_what_comes_after_a_divergence_is_left_out(ground):
    wild = {**OPTIMIZER, "name": "sgd", "base": {"lr": 1e12}}
    assert [m["epoch"] for m in retrain(ground, {**CONFIG, "optimizer": wild}, [0, 3])] == [0]
