"""Studies side by side: what is grouped, and every number of a row on fronts that can be worked by hand."""

from __future__ import annotations

import math

import moocore
import numpy as np
import pytest

from analysis.bdrate import bd_rate
from analysis.comparison import Levels, grouped
from tests.analysis.filled import front_of, full_record

FIRST = front_of((0.95, 40_000), (0.90, 8000), (0.75, 2000))
SECOND = front_of((0.93, 8000), (0.85, 4000), (0.70, 1000))


def two(**changes):
    first = full_record("first", front=FIRST)
    return [first, full_record("second", methods=("uniform",), front=SECOND, **changes)]


@pytest.mark.parametrize(
    "changes",
    [
        {"split": "holdout-500"},
        {"data": "mnist"},
        {"input_shape": (1, 16, 16)},
        {"objectives": {"accuracy": "max", "size": "min"}},
        {"chance": 0.2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_differs_is_grouped_and_never_joined(changes):
    groups = grouped(two(**changes))
    assert [[record.name for record in group.records] for group in groups] == [["first"], ["second"]]
    assert all(group.networks["joint"].all() for group in groups)
    assert len({group.title for group in groups}) == (1 if "chance" in changes else 2)


def test_another_network_joins():
    assert len(grouped(two(network="resnet20"))) == 1


def test_a_row_a_study():
    (group,) = grouped(two())
    first, second = group.table(Levels([8000, 500], [0.9])).to_dict("records")
    assert (first["study"], first["method"], first["front"], first["network"]) == ("first", "deadzone", 3, "mlp")
    assert (first["accuracy_at_8000B"], second["accuracy_at_8000B"]) == (0.90, 0.93)
    assert math.isnan(first["accuracy_at_500B"])
    assert (first["size_at_0.9"], second["size_at_0.9"]) == (8000, 8000)
    assert (first["joint"], second["joint"]) == (2, 3)  # 0.90 at 8,000 bytes is dominated
    assert (first["trials"], first["epochs"]) == (12, 34)
    assert first["trained_gops"] == 34 * 1000  # an image costs 1 in every epoch but the untrained
    assert first["bd_size"] == 0
    pairs = [front[["accuracy", "size"]].to_numpy(float) for front in (SECOND, FIRST)]
    assert second["bd_size"] == bd_rate(*pairs, floor=0.7) < 0


def test_hypervolume_is_against_the_study_s_own_dense_network():
    small = {"accuracy": 0.95, "size": 40_000.0, "rate": 32.0, "gops": 0.01}
    (group,) = grouped(two(dense=small))
    for record, row in zip(group.records, group.table(Levels()).to_dict("records"), strict=True):
        dense = record.dense
        points = [
            (
                min(max((dense["accuracy"] - a) / (dense["accuracy"] - 0.1), 0), 1),
                min(max(1 + math.log10(r / dense["rate"]) / 3, 0), 1),
            )
            for a, r in record.front[["accuracy", "rate"]].to_numpy()
        ]
        assert row["hypervolume"] == pytest.approx(moocore.hypervolume(np.array(points), ref=[1, 1]))


def test_levels_of_the_group_s_own():
    dense = {"accuracy": 0.9, "size": 300_000.0, "rate": 32.0, "gops": 0.01}
    (group,) = grouped(two(dense=dense))
    assert group.levels(Levels()) == Levels([15_000.0], [0.89])
    assert group.levels(Levels([7.0])) == Levels([7.0], [0.89])


def test_shares_of_the_joint_front():
    (group,) = grouped(two())
    shares = group.shares().set_index("method")
    assert shares["members"].to_dict() == {"deadzone": 2, "uniform": 3}
    points = np.array([[0.95, 40_000], [0.90, 8000], [0.75, 2000], [0.93, 8000], [0.85, 4000], [0.70, 1000]])
    scaled = np.c_[(0.95 - points[:, 0]) / 0.85, 1 + np.log10(points[:, 1] / 80_000) / 3]
    whole = moocore.hypervolume(scaled, ref=[1, 1])
    assert shares.loc["deadzone", "alone"] == pytest.approx(moocore.hypervolume(scaled[:3], ref=[1, 1]) / whole)
    assert shares.loc["deadzone", "only"] == pytest.approx(1 - moocore.hypervolume(scaled[3:], ref=[1, 1]) / whole)


def test_a_method_just_behind_covers_nearly_as_much():
    behind = front_of((0.949, 40_400), (0.899, 8080), (0.749, 2020))
    (group,) = grouped([full_record("first", front=FIRST), full_record("behind", methods=("uniform",), front=behind)])
    shares = group.shares().set_index("method")
    assert shares["members"].to_dict() == {"deadzone": 3, "uniform": 0}
    assert shares.loc["uniform", "alone"] > 0.95
    assert (shares["only"] < 0.05).all()


def test_methods_of_one_study_have_shares_of_their_own():
    record = full_record(methods=("deadzone", "uniform"))
    (group,) = grouped([record])
    assert set(group.shares()["method"]) <= {"deadzone", "uniform"}
    assert group.shares()["members"].sum() == group.networks["joint"].sum()
    assert group.table(Levels())["method"].item() == "deadzone+uniform"


def test_three_objectives_join_on_all_of_them():
    gops = {"accuracy": "max", "rate": "min", "gops": "min"}
    cheap = front_of((0.90, 9000), gops=1e-9)
    (group,) = grouped([full_record("a", front=FIRST, objectives=gops), full_record("b", front=cheap, objectives=gops)])
    assert group.costs == ["size", "gops"]
    assert group.networks["joint"].all()


def test_a_front_without_networks_has_no_numbers():
    (group,) = grouped([full_record("first", front=FIRST), full_record("none", front=FIRST.head(0))])
    row = group.table(Levels([8000], [0.9])).to_dict("records")[1]
    assert (row["front"], row["hypervolume"], row["joint"]) == (0, 0.0, 0)
    assert all(math.isnan(row[name]) for name in ("bd_size", "accuracy_at_8000B", "size_at_0.9"))
