from __future__ import annotations

import math
import pickle

import pytest
import torch

from compress.methods import method_class
from search.preflight import Preflight, at_best, at_rest, dominated
from search_spaces.limits import Constraints

CONFIG = {"method": "deadzone", "knobs": {}}
DENSE = {
    "accuracy": 0.9,
    "size": 40_000,
    "rate": 32.0,
    "ratio": 1.0,
    "sparsity": 0.0,
    "gops": 0.1,
    "macs": 5e7,
    "rel_bops": 1.0,
}


def test_the_best_of_a_method_without_a_bound_is_anything():
    best = at_best({}, DENSE)
    assert (best["accuracy"], best["size"], best["gops"], best["rel_bops"], best["sparsity"]) == (0.91, 0, 0, 0, 1)
    assert best["ratio"] == math.inf


def test_the_best_of_a_method_with_one():
    best = at_best({"size": 10_000, "gops": 0.05}, DENSE)
    assert {"size": 10_000, "rate": 8.0, "ratio": 4.0, "gops": 0.05, "macs": 2.5e7}.items() <= best.items()


@pytest.mark.parametrize(
    ("size", "accuracy", "expected"),
    [(9_000, 0.92, True), (10_000, 0.91, True), (9_000, 0.9, False), (11_000, 0.95, False)],
)
def test_a_member_dominates_what_is_nowhere_better(archive, report, size, accuracy, expected):
    archive.add("t1", report(accuracy=accuracy, rate=size / 1250), "t1.rf", {})
    best = at_best({"size": 10_000}, DENSE)
    assert dominated(best, archive.members, {"accuracy": "max", "size": "min"}) is expected


@pytest.fixture
def preflight(archive, monkeypatch):
    """With a method whose files have 10,000 bytes at least."""

    def make(bound=None, patience=None, **limits):
        monkeypatch.setattr(method_class("deadzone"), "bound", lambda self, network: dict(bound or {}))
        archive.scale.dense.update(DENSE)
        return Preflight(archive, Constraints(**limits), torch.nn.Linear(2, 2), patience)

    return make


def test_what_the_front_dominates_at_its_best_is_refused(preflight, archive, report):
    check = preflight({"size": 10_000})
    assert not check.refuses(CONFIG)
    archive.add("t1", report(accuracy=0.95, rate=4.0), "t1.rf", {})
    assert check.refuses(CONFIG)
    assert check.refuses(CONFIG)
    assert check.refused == 2


def test_without_a_bound_nothing_is_refused(preflight, archive, report):
    archive.add("t1", report(accuracy=0.99, rate=0.01), "t1.rf", {})
    assert not preflight().refuses(CONFIG)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_size": "9kB"}, True),
        ({"max_size": "11kB"}, False),
        ({"min_accuracy": 0.92}, True),
        ({"min_accuracy": 0.9}, False),
        ({"max_gops": 0.01}, True),
    ],
)
def test_what_breaks_a_constraint_at_its_best_is_refused(preflight, limits, expected):
    assert preflight({"size": 10_000, "gops": 0.02}, **limits).refuses(CONFIG) is expected


def test_back_from_rays_disk_it_refuses_nothing(preflight):
    again = pickle.loads(pickle.dumps(preflight({"size": 10_000}, max_size=1)))
    assert not again.refuses(CONFIG)


@pytest.mark.parametrize(
    ("history", "patience", "expected"),
    [
        ([], 2, False),
        ([0.5, 0.5], 2, False),
        ([0.5, 0.5, 0.5], 2, True),
        ([0.5, 0.5, 0.6], 2, False),
        ([0.5, 0.6, 0.6, 0.602], 2, True),
        ([0.0, 0.0, 0.0, 0.0], 2, False),
        ([0.5] * 9, None, False),
    ],
)
def test_rest_is_less_than_a_hundredth_in_all_of_the_last_trials(history, patience, expected):
    assert at_rest(history, patience) is expected


def test_every_trial_that_ends_counts(preflight, archive, make_trial):
    check = preflight(patience=2)
    archive.hypervolume = 0.5
    for number in range(2):
        check.on_trial_complete(1, [], make_trial(f"t{number}"))
        assert not check.over()
    check.on_trial_error(1, [], make_trial("t2"))
    assert check.over()
