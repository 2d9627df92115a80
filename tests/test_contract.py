"""The contract that every method passes, unasked: parametrised over ``trainables.available()``."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import MISSING, fields

import pytest
import torch

import compress
import trainables
from compress.method import Method
from compress.methods import method_class
from search_spaces import Space, available
from search_spaces.names import place
from tasks import evaluate
from tests.tiny import small_net, tiny_trainer
from trainables.trainer import Trainer

pytestmark = pytest.mark.parametrize("word", trainables.available())


def _inputs(trainer: Trainer) -> torch.Tensor:
    return trainer.validation.normalise(trainer.validation.images)


def test_1_loaded_artifact_gives_the_very_outputs_that_were_measured(word, tmp_path):
    trainer = tiny_trainer(word)
    metrics = trainer.epoch()
    path = tmp_path / "network.rf"
    path.write_bytes(trainer.shipped.data)
    loaded = compress.load(path, lambda card: small_net())
    with torch.inference_mode():
        assert torch.equal(loaded(_inputs(trainer)), trainer.shipped.network(_inputs(trainer)))
    assert evaluate(loaded, trainer.validation) == metrics.accuracy


def test_2_rate_and_size_are_those_of_the_file(word, tmp_path):
    trainer = tiny_trainer(word)
    metrics = trainer.epoch()
    path = tmp_path / "network.rf"
    path.write_bytes(trainer.shipped.data)
    weights = sum(p.numel() for p in small_net().parameters())
    assert path.stat().st_size == metrics.size
    assert metrics.rate == 8 * metrics.size / weights
    assert metrics.ratio == 4 * weights / metrics.size


def test_3_prepare_with_one_seed_gives_equal_outputs(word):
    one, two = tiny_trainer(word), tiny_trainer(word)
    with torch.no_grad():
        assert torch.equal(one.model.eval()(_inputs(one)), two.model.eval()(_inputs(two)))


def test_4_a_restored_trial_goes_on_as_if_it_had_never_stopped(word, tmp_path):
    whole = tiny_trainer(word)
    whole.epoch()
    torch.save(whole.state(), tmp_path / "trial.pt")
    straight = whole.epoch()
    resumed = tiny_trainer(word)
    resumed.restore(torch.load(tmp_path / "trial.pt", weights_only=True))
    again = resumed.epoch()
    assert whole.shipped.data == resumed.shipped.data
    assert (straight.loss, straight.accuracy, straight.epoch) == (again.loss, again.accuracy, again.epoch)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_5_every_trainable_parameter_is_in_exactly_one_group(word):
    trainer = tiny_trainer(word)
    groups = trainer.method.parameter_groups(trainer.model)
    grouped = [id(p) for group in groups.values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in trainer.model.parameters() if p.requires_grad)
    optimised = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(grouped)


def test_6_penalty_is_a_finite_scalar(word):
    trainer = tiny_trainer(word)
    penalty = trainer.method.penalty(trainer.model)
    assert penalty.shape == ()
    assert math.isfinite(float(penalty.detach()))


def test_7_ten_steps_lower_the_task_loss_on_a_batch(word):
    trainer = tiny_trainer(word)
    inputs, labels = next(iter(trainer._batches(0)))

    def task_loss() -> float:
        torch.manual_seed(0)
        return float(trainer.task.loss(trainer.model.train()(inputs), labels).detach())

    before = task_loss()
    for _ in range(10):
        torch.manual_seed(0)
        trainer.step(inputs, labels, 0.0)
    assert task_loss() < before


def test_8_every_field_has_a_default_and_every_searched_name_a_field(word):
    method = method_class(word)
    for field in fields(method):
        assert field.default is not MISSING or field.default_factory is not MISSING, field.name
    spaces = [Space.load(name) for name in available()]
    own = [space for space in spaces if space.file.method == word]
    assert own, f"no space searches {word}"
    for space in own:
        for name in space.file.search:
            assert place(name, method, space.file.penalties), name


@pytest.mark.slow
def test_9_the_main_knob_moves_what_it_says(word):
    knob = method_class(word).main_knob
    if knob is None:
        assert fields(method_class(word)) == fields(Method)
        return
    moved = []
    for value in knob.values:
        trainer = tiny_trainer(word, **{knob.name: value})
        trainer.epoch()
        moved.append(getattr(trainer.epoch(), knob.moves))
    assert moved[0] >= moved[1] >= moved[2], moved
    assert moved[2] <= 0.9 * moved[0], moved


def test_10_the_module_states_formula_and_paper(word):
    text = inspect.getdoc(inspect.getmodule(method_class(word)))
    assert text is not None
    assert "Formula:" in text
    assert re.search(r"Source:.*(arXiv|doi)", text, re.DOTALL)


def test_the_trainable_fixes_its_method(word):
    assert trainables.load(word).method == word
