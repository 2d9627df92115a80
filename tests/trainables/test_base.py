"""The class that Ray sees: used by hand, and by a real Ray Tune."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

import trainables
from compress.method import KnobError
from compress.metrics import Metrics
from search.archive import measured
from search_spaces import Space
from tasks import Part, evaluate
from tasks.evaluate import Evaluation
from tests.tiny import OPTIMIZER, small_net, tiny_start, tiny_task
from trainables.base import CHECKPOINT, CompressionTrainable, Ground, recipe_of
from trainables.trainer import Recipe

TIMES = {"seconds", "images_per_second"}
CONFIG = {
    "method": "deadzone",
    "knobs": {"init_deadzone_logit": 1.0},
    "penalties": [],
    "optimizer": OPTIMIZER,
    "epochs": 2,
    "images": 256,
    "seed": 3,
    "precision": "float32",
    "compile": False,
    "point": {"init_deadzone_logit": 1.0},
}
DIVERGING = {**CONFIG, "optimizer": {"name": "sgd", "base": {"lr": 1e9}}}


@pytest.fixture
def ground(tmp_path):
    (tmp_path / "artifacts").mkdir()
    start = {name: value.numpy() for name, value in tiny_start().items()}
    return Ground(task=tiny_task(), start=start, artifacts=str(tmp_path / "artifacts"), device="cpu")


@pytest.fixture
def actor(ground):
    """Makes trainables as ``tune.with_parameters`` does, in this process."""

    class Grounded(CompressionTrainable):
        def setup(self, config):
            super().setup(config, ground=ground)

    def make(config=CONFIG):
        return Grounded(config=dict(config))

    return make


def plain(report):
    """What must be equal in equal trials."""
    kept = {name: value for name, value in report.items() if name not in TIMES}
    return kept | ({"epoch_0": plain(report["epoch_0"])} if "epoch_0" in report else {})


def accuracy_of(path):
    from compress import load

    data = tiny_task().data
    validation = Part.of(data.validation, data, torch.device("cpu"))
    return evaluate(load(path, lambda card: small_net()), validation)


def test_methods_have_trainables_of_their_own():
    assert set(trainables.available()) >= {"baseline", "deadzone", "uniform"}
    for word in trainables.available():
        assert trainables.load(word).method == word


def test_a_method_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(LookupError, match=r"method = 'dedzone': unknown; valid: baseline, codebook, deadzone"):
        trainables.load("dedzone")


def test_without_ground_there_is_no_trainable():
    with pytest.raises(ValueError, match="needs its ground"):
        CompressionTrainable(config=dict(CONFIG))


def test_the_config_of_a_space_is_a_recipe():
    space = Space.load("smoke", {"budget.epochs": 7, "budget.images": 99})
    config = space.config({"max_bits": 5, "dz.weight_decay": 0.5})
    recipe = recipe_of(config)
    assert isinstance(recipe, Recipe)
    assert (recipe.method, recipe.epochs, recipe.images) == ("deadzone", 7, 99)
    assert recipe.knobs["max_bits"] == 5
    assert recipe.optimizer["dz"]["weight_decay"] == 0.5


def test_a_step_reports_the_fields_of_metrics_and_the_file(actor, ground):
    report = actor().step()
    assert {f.name for f in fields(Metrics)} <= set(report)
    assert report["epoch"] == 1
    assert report["measures"] == ["dead_zone"]
    assert 0 < report["dead_zone"] < 1
    assert (report["failed"], report["done"]) == (False, False)
    file = Path(ground.artifacts) / report["artifact"]
    assert file.stat().st_size == report["size"]
    assert accuracy_of(file) == report["accuracy"]


def test_the_first_step_carries_the_untrained_network_too(actor, ground):
    trial = actor()
    first, second = trial.step(), trial.step()
    zero = first["epoch_0"]
    assert zero["epoch"] == 0
    assert {f.name for f in fields(Metrics)} <= set(zero)
    assert accuracy_of(Path(ground.artifacts) / zero["artifact"]) == zero["accuracy"]
    assert "epoch_0" not in second
    assert len({zero["artifact"], first["artifact"], second["artifact"]}) == 3


def test_a_report_says_how_its_accuracy_was_counted(actor, ground):
    report = actor().step()
    for network in (report["epoch_0"], report):
        counted = Evaluation.from_plain(network["evaluation"])
        assert counted.accuracy == network["accuracy"]
        assert counted.images == len(ground.task.data.validation)
        assert (counted.device, counted.dtype, counted.memory_format) == ("cpu", "float32", "contiguous")
        assert (counted.batch_size, counted.threads) == (100, 1)
        assert "evaluation" not in measured(network)


def test_the_last_step_is_done(actor):
    trial = actor()
    assert [trial.step()["done"] for _ in range(2)] == [False, True]


def test_reports_are_plain_data(actor):
    assert json.loads(json.dumps(actor().step()))["epoch"] == 1


def test_a_diverged_trial_reports_failure_and_is_done(actor):
    report = actor(DIVERGING).step()
    assert (report["failed"], report["done"]) == (True, True)
    assert "loss is" in report["reason"] or "not finite" in report["reason"]
    assert "accuracy" not in report
    assert report["epoch_0"]["accuracy"] > 0.5, "the untrained network is a network all the same"


def test_a_checkpoint_loads_without_unpickling_objects(actor, tmp_path):
    trial = actor()
    trial.step()
    trial.save_checkpoint(str(tmp_path))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["epochs_done"] == 1
    assert set(state) == {"model", "optimizer", "epochs_done"}


def test_a_trial_restored_in_another_actor_goes_on(actor, tmp_path):
    first = actor()
    first.step()
    first.save_checkpoint(str(tmp_path))
    second = actor()
    second.load_checkpoint(str(tmp_path))
    one, two = first.step(), second.step()
    assert plain(one) == plain(two)
    assert two["done"]


@pytest.mark.parametrize("before", [CONFIG, DIVERGING], ids=["done", "diverged"])
def test_a_reused_actor_gives_the_results_of_a_fresh_one(actor, ground, before):
    other = {**CONFIG, "knobs": {"init_deadzone_logit": 0.6, "max_bits": 4}, "seed": 8}
    reused = actor(before)
    task, device = reused.ground.task, reused.device
    reused.step()
    assert reused.reset_config(dict(other)) is True
    again = [reused.step(), reused.step()]
    data = [(Path(ground.artifacts) / r["artifact"]).read_bytes() for r in again]
    fresh = actor(other)
    expected = [fresh.step(), fresh.step()]
    assert [plain(r) for r in again] == [plain(r) for r in expected]
    assert data == [(Path(ground.artifacts) / r["artifact"]).read_bytes() for r in expected]
    assert reused.ground.task is task
    assert reused.device == device


def test_the_start_is_not_changed_by_a_trial(actor, ground):
    trial = actor({**CONFIG, "method": "baseline", "knobs": {}})
    trial.step()
    trial.reset_config({**CONFIG, "method": "baseline", "knobs": {}})
    assert all((trial._start[name].numpy() == value).all() for name, value in ground.start.items())
    for name, value in trial.trainer.model.state_dict().items():
        assert torch.equal(value, trial._start[name]), name


def test_a_subclass_fixes_its_method_whatever_the_config_says(ground):
    class Fixed(trainables.load("uniform")):
        def setup(self, config):
            super().setup(config, ground=ground)

    assert Fixed(config={**CONFIG, "knobs": {}}).trainer.recipe.method == "uniform"


def test_cleanup_frees_the_trial(actor):
    trial = actor()
    trial.cleanup()
    assert not hasattr(trial, "trainer")
    trial.cleanup()


def test_a_start_of_none_is_random_weights(ground):
    class Scratch(CompressionTrainable):
        def setup(self, config):
            super().setup(config, ground=Ground(ground.task, None, ground.artifacts, "cpu"))

    assert Scratch(config={**CONFIG, "method": "baseline", "knobs": {}}).step()["epoch_0"]["accuracy"] < 0.4


DISTILLING = {**CONFIG, "penalties": [{"name": "distill", "lambda": 1.0, "temperature": 4.0}]}


def test_the_dense_network_is_made_once_an_actor_and_only_where_it_is_asked_for(actor):
    trial = actor()
    assert "_dense" not in vars(trial)
    trial.reset_config(DISTILLING)
    dense = trial._dense
    assert trial.trainer._dense is dense
    trial.step()
    trial.reset_config({**DISTILLING, "seed": 8})
    assert trial.trainer._dense is dense
    trial.reset_config(CONFIG)
    assert trial.trainer._dense is None
    for name, value in dense.state_dict().items():
        assert torch.equal(value, tiny_start()[name]), name


def test_a_reused_actor_distils_as_a_fresh_one(actor):
    reused = actor({**DISTILLING, "seed": 8})
    reused.step()
    reused.reset_config(DISTILLING)
    fresh = actor(DISTILLING)
    assert [plain(reused.step()) for _ in range(2)] == [plain(fresh.step()) for _ in range(2)]


def test_a_checkpoint_of_a_distilling_trial_holds_no_dense_network(actor, tmp_path):
    states = []
    for number, config in enumerate((CONFIG, DISTILLING)):
        folder = tmp_path / str(number)
        folder.mkdir()
        trial = actor(config)
        trial.step()
        trial.save_checkpoint(str(folder))
        states.append(torch.load(folder / CHECKPOINT, weights_only=True))
    assert [list(s) for s in states] == [["model", "optimizer", "epochs_done"]] * 2
    assert states[0]["model"].keys() == states[1]["model"].keys()
    assert len(states[0]["optimizer"]["state"]) == len(states[1]["optimizer"]["state"])


def test_trials_from_random_weights_distil_from_the_dense_network_of_the_study(ground):
    start = {"knobs": {}, "method": "baseline"}

    class Scratch(CompressionTrainable):
        def setup(self, config, dense=ground.start):
            super().setup(config, ground=replace(ground, start=None, dense=dense))

    trial = Scratch(config={**DISTILLING, **start})
    assert trial.step()["epoch_0"]["accuracy"] < 0.4
    dense = trial.trainer._dense.state_dict()
    assert all((dense[name].numpy() == value).all() for name, value in ground.start.items())

    class Without(Scratch):
        def setup(self, config):
            super().setup(config, dense=None)

    with pytest.raises(KnobError, match="distill needs the trained dense network, and this trial has none"):
        Without(config={**DISTILLING, **start})


@pytest.fixture(scope="module")
def tuned(own_ray, tmp_path_factory):
    """Three trials in one reused actor: a good one, one that diverges, and a good one of another seed."""
    import ray
    from ray import tune
    from ray.tune.logger import JsonLoggerCallback

    root = tmp_path_factory.mktemp("tuned")
    (root / "artifacts").mkdir()
    start = {name: value.numpy() for name, value in tiny_start().items()}
    ground = ray.put(Ground(task=tiny_task(), start=start, artifacts=str(root / "artifacts"), device="cpu"))
    sgd = {"name": "sgd", "base": {"lr": 1e9}}
    varied = tune.grid_search([{"seed": 3}, {"seed": 3, "optimizer": sgd}, {"seed": 8}])

    class Varied(trainables.load("deadzone")):
        def setup(self, config, ground=None):
            super().setup({**config, **config["varied"]}, ground)

        def reset_config(self, config):
            return super().reset_config({**config, **config["varied"]})

    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(Varied, ground=ground), {"cpu": 1}),
        param_space={**CONFIG, "varied": varied},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="tuned", storage_path=str(root), verbose=0, callbacks=[JsonLoggerCallback()]),
    ).fit()
    return root, list(results)


def reports(result):
    return [json.loads(line) for line in (Path(result.path) / "result.json").read_text().splitlines()]


@pytest.mark.slow
def test_ray_gets_what_a_step_reports(tuned):
    root, (good, _, other) = tuned
    for result in (good, other):
        first, last = reports(result)
        assert [r["epoch"] for r in (first["epoch_0"], first, last)] == [0, 1, 2]
        assert [r["done"] for r in (first, last)] == [False, True]
        for report in (first["epoch_0"], first, last):
            file = root / "artifacts" / report["artifact"]
            assert file.name.startswith(last["trial_id"])
            assert file.stat().st_size == report["size"]
            assert accuracy_of(file) == report["accuracy"]


@pytest.mark.slow
def test_ray_is_told_of_divergence_without_an_error(tuned):
    _, (_, diverged, _) = tuned
    assert diverged.error is None
    (report,) = reports(diverged)
    assert (report["failed"], report["done"]) == (True, True)
    assert "loss is" in report["reason"] or "not finite" in report["reason"]


@pytest.mark.slow
def test_an_actor_of_ray_gives_what_this_process_gives(tuned, actor):
    _, (good, _, other) = tuned
    for result, seed in ((good, 3), (other, 8)):
        trial = actor({**CONFIG, "seed": seed})
        expected = [trial.step(), trial.step()]
        for report, mine in zip(reports(result), expected, strict=True):
            assert (report["accuracy"], report["size"]) == (mine["accuracy"], mine["size"])
            assert report["loss"] == pytest.approx(mine["loss"], rel=1e-6)
    assert len({r["pid"] for result in (good, other) for r in reports(result)}) == 1, "the actor was not reused"


@pytest.mark.slow
def test_checkpoints_of_ray_are_ours(tuned):
    _, (good, *_) = tuned
    state = torch.load(Path(good.checkpoint.path) / CHECKPOINT, weights_only=True)
    assert state["epochs_done"] == 2
