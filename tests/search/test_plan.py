"""What is known when the first trial starts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from compress.metrics import count_macs
from search.folder import ARTIFACTS
from search.plan import Plan
from search_spaces import Space
from tasks.starts import Start
from tests.tiny import tiny_task
from trainables.dense import Dense, Price


@pytest.fixture
def plan():
    task = tiny_task()
    dense = Dense(state={"w": torch.ones(1)}, accuracy=0.9, weights=1, gops=0.1, origin="here")
    price = Price(step_seconds=0.1, epoch_seconds=1.0, trial_seconds=5.0, test_seconds=2.0)
    opened = SimpleNamespace(space=Space.load("smoke"), task=task, start=Start("train", "here", "holdout-20"))
    return Plan(opened, dense, price, {"cpu": 1.0, "gpu": 0.0}, 2, "cpu")


def test_the_reference_counts_the_dense_network(plan):
    reference, macs = plan.reference(), count_macs(tiny_task().build(), (1, 8, 8))
    assert (reference["macs"], reference["training_gops"]) == (macs.total, macs.training_gops)
    assert (reference["accuracy"], reference["parameters"], reference["rate"]) == (0.9, 1, 32.0)


def with_wall(plan, seconds):
    space = Space.load("smoke", {"budget.wall_time": seconds})
    return replace(plan, opened=SimpleNamespace(space=space, task=plan.opened.task, start=plan.opened.start))


def test_the_clock_keeps_time_for_testing_the_front(plan):
    assert with_wall(plan, 400).clock(1000.0).deadline == 1000.0 + 400 - (8 + 12 * 2.0 / 2)


def test_testing_takes_a_quarter_at_most(plan):
    assert with_wall(plan, 40).clock(1000.0).deadline == 1000.0 + 30


def test_the_clock_keeps_time_for_training_the_front_again_half_of_all_at_most(plan):
    assert with_wall(plan, 400).clock(1000.0, 3).deadline == 1000.0 + 400 - 20 - 3 * 4 * 5.0 / 2
    assert with_wall(plan, 40).clock(1000.0, 9).deadline == 1000.0 + 40 - 10 - 20
    assert (with_wall(plan, 40).until(1000.0), plan.until(1000.0)) == (1040.0, None)


def test_no_wall_time_no_deadline(plan):
    assert plan.clock(1000.0).deadline is None
    assert plan.clock(1000.0).trial_seconds == 5.0


def test_trials_stand_on_the_dense_network_or_on_nothing(plan, tmp_path):
    ground = plan.ground(tmp_path)
    assert ground.start is plan.dense.state
    assert ground.artifacts == str(tmp_path / ARTIFACTS)
    scratch = replace(
        plan, opened=SimpleNamespace(**{**vars(plan.opened), "start": Start("scratch", "here", "holdout-20")})
    )
    assert scratch.ground(tmp_path).start is None
