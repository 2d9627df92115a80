from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import Part, TaskError, TaskSpec, evaluate, open_task
from tasks.starts import Start
from trainables.dense import fixed_dense, make_dense, price_of
from trainables.trainer import Recipe

SPEC = TaskSpec(network="mlp", data="digits", start_epochs=3, batch_size=64)
TO_TRAIN = Start("train", "trained here", "holdout")


@pytest.fixture(scope="module")
def task():
    return open_task(SPEC, Path("unused"))[0]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Each test starts without dense networks."""
    monkeypatch.setenv("RATEFRONT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "starts"


def make(task, start=TO_TRAIN, seed=0):
    said = []
    return make_dense(task, start, seed, "cpu", said.append), said


def same(one, other):
    return all(np.array_equal(one.state[name], other.state[name]) for name in one.state)


def test_trained_once_then_taken_from_the_cache(task, cache):
    first, said = make(task)
    assert first.origin == "trained here"
    assert said[0] == "no trained mlp for digits: training it once, 3 epochs of 1,197 images"
    assert len(said) == 3
    assert len(list(cache.iterdir())) == 1
    second, said = make(task)
    assert second.origin == "trained here before"
    assert said == []
    assert same(first, second)
    assert replace(second, state={}, origin="") == replace(first, state={}, origin="")


def test_what_is_said_of_the_dense_network_is_true(task):
    dense, _ = make(task)
    network = task.build()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in dense.state.items()})
    assert dense.accuracy == evaluate(network, Part.of(task.data.validation, task.data, torch.device("cpu"))) > 0.5
    assert dense.weights == sum(p.numel() for p in network.parameters()) == 18814
    assert dense.size == 4 * 18814
    assert dense.gops == 2 * (64 * 120 + 120 * 84 + 84 * 10) / 1e9


@pytest.mark.parametrize("damage", [b"", b"nothing that torch wrote", None], ids=["empty", "garbage", "cut off"])
def test_a_damaged_cache_is_trained_again(task, cache, damage):
    first, _ = make(task)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:3000] if damage is None else damage)
    again, said = make(task)
    assert again.origin == "trained here"
    assert said[0] == f"{kept} is damaged; training the dense network again"
    assert same(first, again)
    assert make(task)[0].origin == "trained here before"


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(task, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RATEFRONT_CACHE", str(tmp_path / "file" / "below"))
    dense, said = make(task)
    assert dense.origin == "trained here"
    assert dense.accuracy > 0.5
    assert any("cannot be kept" in line for line in said)


@pytest.mark.parametrize(
    "changes",
    [{"start_epochs": 2}, {"batch_size": 32}, {"network_arguments": {"hidden": [20]}}],
    ids=["epochs", "batch", "network"],
)
def test_another_recipe_is_another_start(task, changes):
    make(task)
    other = open_task(replace(SPEC, **changes), Path("unused"))[0]
    assert make(other)[0].origin == "trained here"


def test_another_seed_is_another_start(task):
    first, _ = make(task)
    other, _ = make(task, seed=1)
    assert other.origin == "trained here"
    assert not same(first, other)


def test_a_changed_network_of_the_users_is_another_start(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "users_network.py"
    text = "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    module.write_text(text)
    task = open_task(replace(SPEC, network="users_network:build", start_epochs=1), Path("unused"))[0]
    assert make(task)[0].origin == "trained here"
    assert make(task)[0].origin == "trained here before"
    module.write_text(text + "# changed\n")
    assert make(task)[0].origin == "trained here"


def test_a_network_that_does_not_train_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    body = "    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n    nn.init.constant_(network[1].weight, float('nan'))\n"
    (tmp_path / "broken_network.py").write_text(f"from torch import nn\n\ndef build():\n{body}    return network\n")
    task = open_task(replace(SPEC, network="broken_network:build"), Path("unused"))[0]
    with pytest.raises(
        TaskError, match=r"start: the dense broken_network:build does not train \(loss is nan"
    ) as caught:
        make(task)
    assert "\n" not in str(caught.value)


def test_given_weights_are_loaded_and_nothing_is_trained(task, cache):
    network = task.build()
    start = Start("file", "mine.pt", "holdout", network.state_dict())
    dense, said = make(task, start)
    assert dense.origin == "mine.pt"
    assert said == []
    assert not cache.exists()
    assert all(np.array_equal(dense.state[n], v.numpy()) for n, v in network.state_dict().items())


def test_weights_of_another_network_are_refused_in_one_line(task):
    start = Start("file", "mine.pt", "holdout", torch.nn.Linear(3, 3).state_dict())
    with pytest.raises(TaskError, match=r"start = 'mine.pt': does not fit network 'mlp'") as caught:
        make(task, start)
    assert "\n" not in str(caught.value)


def test_threads_are_put_back(task):
    held = torch.get_num_threads()
    make(task)
    price_of(task, Recipe(method="baseline"), "cpu", cpus=held + 1)
    assert torch.get_num_threads() == held


def test_price_adds_up(task):
    price = price_of(task, Recipe(method="deadzone", epochs=5, images=640), "cpu", 1)
    evaluation = price.epoch_seconds - 10 * price.step_seconds  # 640 images in batches of 64
    assert price.step_seconds > 0
    assert evaluation > 0
    assert price.trial_seconds == pytest.approx(5 * price.epoch_seconds + evaluation)
    assert price.test_seconds == pytest.approx(evaluation)  # both parts hold 300 images


def test_a_start_that_takes_longer_than_the_study_is_refused(task, cache):
    with pytest.raises(TaskError, match="does not fit the time budget; --set"):
        make_dense(task, TO_TRAIN, 0, "cpu", lambda line: None, until=time.time())
    assert not cache.exists()


def test_a_fixed_dense_network_answers_as_the_dense_network_and_leaves_the_generator_alone(task):
    dense, _ = make(task)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network = fixed_dense(task, dense.state, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert evaluate(network, Part.of(task.data.validation, task.data, torch.device("cpu"))) == dense.accuracy
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    first, value = next(iter(network.named_parameters()))
    with torch.no_grad():
        value.zero_()
    assert dense.state[first].any(), "the state is the study's, not the network's"


def test_the_price_of_distillation_is_known_before_there_is_a_dense_network(task):
    penalties = ({"name": "distill", "lambda": 1.0},)
    assert price_of(task, Recipe(method="deadzone", penalties=penalties, images=640), "cpu", 1).step_seconds > 0
