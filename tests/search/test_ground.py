from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.metrics import Macs
from search.ground import advice, dense_line, dry_size, open_space, plain_dense, trial_estimate
from search_spaces import Space
from search_spaces.sections import DIRECTIONS
from tasks import DataMissing, Task
from trainables.dense import Dense, Price

PRICE = Price(step_seconds=0.02, epoch_seconds=5.0, trial_seconds=10.0, test_seconds=1.0)
CIFAR = """
method: deadzone
task: {network: mlp, data: cifar10, start: train}
budget: {trials: 4, epochs: 2}
search: {max_bits: {type: int, low: 4, high: 8}}
"""
EMBEDDED = "embedded: {task: {data: digits, batch_size: 64}, budget: {epochs: 1}}"


@pytest.fixture
def cifar_space(tmp_path):
    def make(embedded=True):
        path = tmp_path / "cifar_mlp.yaml"
        path.write_text(CIFAR + (EMBEDDED if embedded else ""))
        return Space.load(path)

    return make


def test_a_space_opens_with_its_data(smoke_space, tmp_path):
    said = []
    opened = open_space(smoke_space(), tmp_path, strict=False, say=said.append)
    assert opened.data_used == opened.task.data.name == "digits"
    assert isinstance(opened.task, Task)
    assert opened.start.kind == "train"
    assert said == []


def test_absent_data_are_replaced_by_the_embedded_and_it_is_said(cifar_space, tmp_path, no_network):
    said = []
    opened = open_space(cifar_space(), tmp_path, strict=False, say=said.append)
    assert opened.data_used == "digits (embedded; cifar10 was not used)"
    assert opened.task.data.name == "digits"
    assert (opened.space.file.budget.epochs, opened.space.file.budget.trials) == (1, 4)
    assert opened.task.spec.batch_size == 64
    assert "--data-root says where: searching the embedded data digits instead" in said[-1]
    assert all("\n" not in line for line in said)


@pytest.mark.parametrize(("embedded", "strict"), [(True, True), (False, False), (False, True)])
def test_absent_data_are_an_error_where_they_were_asked_for_or_nothing_is_embedded(
    cifar_space, tmp_path, no_network, embedded, strict
):
    said = []
    with pytest.raises(DataMissing, match=r"put it under .*\(--data-root, RATEFRONT_DATA\), or use --data digits") as e:
        open_space(cifar_space(embedded), tmp_path, strict, said.append)
    assert str(tmp_path) in str(e.value)
    assert "\n" not in str(e.value)
    assert said == []


def test_the_dense_network_in_one_line(smoke_space, tmp_path):
    task = open_space(smoke_space(), tmp_path, False, print).task
    line = dense_line(task, Dense({}, "trained here", 0.961, 18814, 3.72e-05))
    assert line == (
        "dense mlp on digits 1x8x8 (split holdout-300): accuracy 96.10%, 18,814 weights, 75,256 bytes, 0.000 GOps; "
        "trained here"
    )


def test_the_dense_size_without_training(smoke_space, tmp_path):
    opened = open_space(smoke_space(), tmp_path, False, print)
    assert dry_size(opened).startswith("dense mlp on digits: 18,814 weights, 75,256 bytes, ")


@pytest.mark.parametrize(("trials", "concurrent", "seconds"), [(4, 1, 40), (4, 2, 20), (5, 2, 30), (1, 8, 10)])
def test_estimates_are_rounds_of_trials(smoke_space, trials, concurrent, seconds):
    assert trial_estimate(smoke_space(budget__trials=trials), PRICE, concurrent) == seconds


def test_advice_says_trials_epochs_and_time(smoke_space):
    (line,) = advice(smoke_space(), PRICE, 2, "cpu")
    assert line == "4 trials x 2 epochs, 2 at once: about 20 s on this machine (20 ms a step, 5 s an epoch)"


def test_advice_counts_one_trial_where_nothing_is_searched(smoke_space):
    raw = {**smoke_space().raw, "search": {}}
    (line,) = advice(Space.from_raw("one", "one.yaml", raw), PRICE, 2, "cpu")
    assert line.startswith("1 trial x 2 epochs")


def test_advice_names_the_wall_time(smoke_space):
    (line,) = advice(smoke_space(budget__wall_time="8m"), PRICE, 2, "cpu")
    assert ", at most 8 min (" in line


@pytest.mark.parametrize(
    ("trial_seconds", "device", "wall", "warned"),
    [(1801, "cpu", None, True), (1799, "cpu", None, False), (1801, "cuda", None, False), (1801, "cpu", "2h", False)],
)
def test_a_search_of_over_an_hour_on_a_cpu_names_the_flags_that_make_it_smaller(
    smoke_space, trial_seconds, device, wall, warned
):
    space = smoke_space(**({"budget__wall_time": wall} if wall else {}))
    lines = advice(space, replace(PRICE, trial_seconds=trial_seconds), 2, device)
    assert len(lines) == 1 + warned
    if warned:
        assert all(flag in lines[1] for flag in ("--trials", "--epochs", "--set budget.images", "--time-budget"))


def test_the_dense_reference_has_every_objective():
    reference = plain_dense(
        Dense({"w": np.zeros(1)}, "trained here", 0.9, 1000, 0.5), Macs(250_000_000, {}, 700_000_000)
    )
    assert set(DIRECTIONS) == set(reference)
    assert (reference["accuracy"], reference["size"], reference["gops"]) == (0.9, 4000, 0.5)
    assert (reference["parameters"], reference["macs"], reference["training_gops"]) == (1000, 250_000_000, 1.4)
    assert reference["bops"] == 0.25e9 * 32 * 32
