"""The tables behind the figures, on records whose every number is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures import axis_of, climb, knob_lines, members, others, series_of
from analysis.pareto import NEAR_CHANCE, Scale
from tests.analysis.recorded import record_of


def test_a_method_and_study_is_a_series_with_a_look_of_its_own():
    lines = series_of([record_of("a", ("deadzone", "epr")), record_of("b", ("uniform",))])
    assert [(s.study, s.method, s.label) for s in lines] == [
        (0, "deadzone", "deadzone"),
        (0, "epr", "epr"),
        (1, "uniform", "uniform"),
    ]
    assert len({s.colour for s in lines}) == len({s.symbol for s in lines}) == len({s.sign for s in lines}) == 3
    assert [s.label for s in series_of([record_of("a"), record_of("b")])] == ["deadzone · a", "deadzone · b"]
    assert len(lines[0].trials) == len(lines[1].trials) == 6
    assert lines[0].knobs == ["bits", "base.lr", "kind", "once"]


def test_members_are_in_the_axis_unit_and_in_order():
    record = record_of()
    table = members(series_of([record])[0], "size")
    assert len(table) == len(record.front)
    assert table["cost"].tolist() == sorted(record.front["size"] / 1000)
    assert table["accuracy"].iloc[-1] == pytest.approx(93.15)
    assert (table["times"] * table["cost"]).tolist() == pytest.approx([80.0] * len(table))
    assert (table["accuracy"] - table["test"]).tolist() == pytest.approx([1.0] * len(table))
    assert table["best"].all()
    assert table["on_front"].isna().all()


def test_members_of_a_joint_front_stay_with_their_method():
    record = record_of(methods=("deadzone", "epr"))
    own = [set(members(s, "size")["trial_id"]) for s in series_of([record])]
    assert own[0] | own[1] == set(record.front["trial_id"])
    assert not own[0] & own[1]


def test_only_some_members_are_best_for_another_cost():
    record = record_of(gops=True)
    table = members(series_of([record])[0], "gops")
    best = table[table["best"]]
    assert 0 < len(best) < len(table)
    for row in table.itertuples():
        better = table[(table["cost"] <= row.cost) & (table["accuracy"] >= row.accuracy)]
        assert row.best == (len(better) == 1)


def test_what_other_seeds_made_of_a_member_is_told():
    plain = record_of()
    front = plain.front.assign(seeds_accuracy=0.9, seeds_std=0.01, on_front=0.25)
    table = members(series_of([record_of(front=front)])[0], "size")
    assert (table["mean"].unique().tolist(), table["std"].unique().tolist()) == ([90.0], [1.0])
    assert table["on_front"].unique().tolist() == [0.25]


def test_others_are_the_last_networks_of_trials_without_a_member():
    record = record_of()
    table = others(series_of([record])[0], "size")
    assert set(table["trial_id"]) == set(record.trials.index) - set(record.front["trial_id"])
    assert table["epoch"].tolist() == [1 if trial == "t11" else 3 for trial in table["trial_id"]]


@pytest.mark.parametrize("gops", [False, True])
def test_hypervolume_at_each_step_is_that_of_everything_so_far(gops):
    record = record_of(count=5, gops=gops)
    scale, table = Scale(list(record.objectives), record.dense, record.chance), climb(record)
    able = record.epochs["accuracy"] >= record.chance + NEAR_CHANCE
    spent = (record.epochs["epoch"] > 0).cumsum()
    for row in table.itertuples():
        before = record.epochs[able & (spent <= row.spent)]
        assert row.hypervolume == pytest.approx(scale.hypervolume(before.to_dict("records")))
    assert table["hypervolume"].is_monotonic_increasing
    assert (table["spent"].iloc[0], table["spent"].iloc[-1]) == (0, spent.iloc[-1])


def test_networks_near_chance_lift_no_hypervolume():
    record = record_of(count=2)
    assert climb(record_of(count=2, epochs=record.epochs.assign(accuracy=0.14)))["hypervolume"].tolist() == [0, 0]


def test_one_objective_has_no_hypervolume():
    assert climb(record_of(objectives={"accuracy": "max"})).empty
    assert climb(record_of(epochs=record_of().epochs.head(0))).empty


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1.0, 10.0, 100.0], [0, 0.5, 1]),
        ([0.0, 5.0, 20.0], [0, 0.25, 1]),
        ([2, 4, np.nan], [0, 1, np.nan]),
        ([7, 7, 7], [0.5, 0.5, 0.5]),
        (["b", "c", "a"], [0.5, 1, 0]),
        (["a", None, "a"], [0.5, np.nan, 0.5]),
        ([True, False, True], [1, 0, 1]),
    ],
)
def test_a_knob_lies_along_its_axis(values, places):
    column = pd.Series(values)
    assert axis_of("knob", column).place(column).tolist() == pytest.approx(places, nan_ok=True)


def test_axes_are_logarithmic_over_a_decade_and_a_half_alone():
    assert axis_of("lr", pd.Series([1e-4, 1e-2])).log
    assert not axis_of("bits", pd.Series([2, 8])).log
    assert not axis_of("share", pd.Series([0.0, 1.0])).log
    assert [axis_of("n", pd.Series(v)).whole for v in ([2, 8], [2.0, np.nan], [2.5, 8])] == [True, True, False]


def test_lines_end_in_what_came_of_the_knobs():
    record = record_of()
    axes, places = knob_lines(series_of([record])[0])
    assert [axis.name for axis in axes] == ["bits", "base.lr", "kind", "once", "accuracy in %", "size"]
    assert places.loc["t6", "bits"] == 1
    assert places.index[places["front"]].tolist() == [f"t{n}" for n in range(7)]
    assert places.drop(columns="front").stack().between(0, 1).all()
