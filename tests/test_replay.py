"""Searches replayed on the recorded curves that lie beside the benchmarks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import curves
from benchmarks.policies import Among, Ours, policies
from benchmarks.replay import Recorded, replay
from search.forecast import place
from search_spaces.sections import Rungs


@pytest.fixture(scope="module")
def recorded():
    table = curves.read_table(curves.table_path("all_mnist"))
    return Recorded(table, ["accuracy", "rate"], 9, Rungs(grace=3, factor=3))


def test_a_suggestion_that_was_moved_is_all_that_anybody_knows(recorded):
    """Optuna, when it is told, and the forecast have the recorded knobs, not those that were asked for."""
    policy = Ours(recorded, 1, "net")
    asked = policy.suggest(0)
    number = recorded.nearest(asked, np.ones(len(recorded.draws), dtype=bool))
    policy.moved(0, recorded.draws[number])
    assert asked != recorded.draws[number]
    assert policy.searcher.where("0") == place(recorded.domains, recorded.draws[number])
    policy.ended(0, recorded.report(number, 27))
    (trial,) = policy.searcher.study.trials
    assert trial.params == recorded.draws[number]


def test_a_sampler_that_knows_the_table_asks_for_what_it_holds(recorded):
    """From its first modelled point on: those at random before it are moved."""
    policy, kept = Among(recorded, 3, "net"), []
    free = np.ones(len(recorded.draws), dtype=bool)
    for order in range(12):
        asked = policy.suggest(order)
        number = recorded.nearest(asked, free)
        free[number] = False
        policy.moved(order, recorded.draws[number])
        policy.ended(order, recorded.report(number, 27))
        kept.append(asked == recorded.draws[number])
    assert kept == [False] * 3 + [True] * 9


@pytest.mark.parametrize("name", ["ours", "ours, judged as they are", "ours, tpe, were all ends known", "random"])
def test_a_replay_spends_its_budget_and_finds_more_and_more(recorded, name):
    curve, counts = replay(recorded, policies()[name](recorded, 0), 6 * 27)
    assert counts["spent"] == 6 * 27
    assert (np.diff(curve) >= 0).all()
    assert 0 < curve[-1] <= 1
    assert (counts["begun"] > 12) == name.startswith("ours"), "what rungs save begins others"


def test_finer_steps_pass_through_the_coarser_ones(recorded):
    coarse, fine = (replay(recorded, policies()["random"](recorded, 0), 20 * 27, steps)[0] for steps in (20, 60))
    assert fine[2::3] == pytest.approx(coarse)
