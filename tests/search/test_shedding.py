"""What stays of a trial that ended: its name, its state, its folder."""

from __future__ import annotations

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from search.shedding import Shedding


@pytest.fixture
def ended_trial(make_trial, report, tmp_path):
    """One that Ray ran: with a result, a checkpoint's place, resources."""

    def make(name, status=Trial.TERMINATED):
        trial = make_trial(name)
        trial.run_metadata.last_result = report(2, trial_id=name)
        trial.run_metadata.metric_analysis["accuracy"] = {"max": 0.9}
        trial.storage = StorageContext(str(tmp_path), "study", trial_dir_name=f"trial_{name}")
        trial.placement_group_factory = PlacementGroupFactory([{"CPU": 1.0}])
        trial.status = status
        return trial

    return make


def test_a_trial_is_let_go_when_a_later_one_ends(ended_trial, tmp_path):
    first, second, shedding = ended_trial("a"), ended_trial("b"), Shedding()
    shedding.on_trial_complete(1, [], first)
    assert first.last_result["accuracy"] == 0.9
    shedding.on_trial_error(2, [], second)
    assert first.last_result == {"trial_id": "a"}
    assert not first.config
    assert not first.metric_analysis
    assert (first.trial_id, first.status) == ("a", Trial.TERMINATED)
    assert second.last_result["accuracy"] == 0.9
    shedding.on_trial_complete(3, [], ended_trial("c"))
    assert first.run_metadata.checkpoint_manager is second.run_metadata.checkpoint_manager
    assert first.placement_group_factory is second.placement_group_factory
    assert first.storage.syncer is second.storage.syncer
    assert (first.path, second.path) == tuple(str(tmp_path / "study" / f"trial_{name}") for name in "ab")


def test_one_whose_last_checkpoint_is_on_its_way_waits(ended_trial):
    first, shedding = ended_trial("a", Trial.RUNNING), Shedding()
    shedding.on_trial_complete(1, [], first)
    shedding.on_trial_complete(2, [], ended_trial("b"))
    assert first.last_result["accuracy"] == 0.9
    first.status = Trial.TERMINATED
    shedding.on_trial_complete(3, [], ended_trial("c"))
    assert first.last_result == {"trial_id": "a"}
