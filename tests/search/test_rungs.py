"""Rungs against their definition, written out the slow way."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.pareto import ranks
from search.rungs import Ladder, Layers, Rung, milestones
from search_spaces.sections import Rungs


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def fronts_of(points):
    """Lists of numbers: those that nothing left dominates, again and again."""
    left, found = list(range(len(points))), []
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        found.append(front)
        left = [i for i in left if i not in front]
    return found


def net(points, front):
    """Farthest point first, from the one nearest to the best corner, on axes of the front's own span."""
    axes = list(zip(*[points[i] for i in front], strict=True))
    spans = [(min(axis), max(axis) - min(axis) or 1) for axis in axes]
    at = {i: [(x - low) / span for x, (low, span) in zip(points[i], spans, strict=True)] for i in front}

    def apart(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    order = [min(front, key=lambda i: (apart(at[i], [0] * len(axes)), i))]
    while len(order) < len(front):
        rest = [i for i in front if i not in order]
        order.append(max(rest, key=lambda i: (min(apart(at[i], at[j]) for j in order), -i)))
    return order


def goes_on(records, factor, protect):
    """Whether the last of ``records`` does: (vector, feasible) each."""
    n, last = len(records), len(records) - 1
    if n < factor:
        return True
    order, first = [], []
    for kind in (True, False):
        numbers = [i for i, (_, feasible) in enumerate(records) if feasible is kind]
        points = [records[i][0] for i in numbers]
        fronts = fronts_of(points)
        first += [numbers[i] for i in fronts[0]] if fronts and kind else []
        order += [numbers[i] for front in fronts for i in net(points, front)]
    return last in order[: math.ceil(n / factor)] or (protect == "all" and last in first)


def vectors(objectives):
    return st.tuples(*[st.integers(0, 8).map(float)] * objectives)


@pytest.mark.parametrize("protect", ["all", "net"])
@pytest.mark.parametrize("objectives", [2, 3])
@given(data=st.data(), factor=st.integers(2, 5))
@settings(max_examples=120, deadline=None)
def test_decisions_are_those_of_the_definition(protect, objectives, data, factor):
    feasible = st.booleans() if data.draw(st.booleans()) else st.just(True)
    records = data.draw(st.lists(st.tuples(vectors(objectives), feasible), max_size=24))
    rung = Rung(factor, protect)
    told = [rung.judge(*record) for record in records]
    assert told == [goes_on(records[: i + 1], factor, protect) for i in range(len(records))]


@given(st.integers(2, 3).flatmap(lambda m: st.lists(vectors(m), min_size=1, max_size=40)))
@example([(3.0, 3.0), (1.0, 1.0), (2.0, 2.0)])
@settings(deadline=None)
def test_fronts_of_points_that_come_one_by_one(points):
    layers = Layers()
    for point in points:
        layers.add(point)
    found = np.empty(len(points), dtype=int)
    for level, front in enumerate(layers.fronts):
        found[front] = level
    assert found.tolist() == ranks(np.array(points)).tolist()
    assert len(layers) == len(points)


def test_three_in_a_row_are_ranked_as_they_dominate():
    """The case that a well-known implementation ranks wrongly: the first, worst of all, as second best."""
    rung = Rung(3, "net")
    assert [rung.judge((x, x)) for x in (3, 1, 2)] == [True, True, False]


@pytest.mark.parametrize(("protect", "expected"), [("all", range(30, 31)), ("net", range(5, 16))])
def test_a_rung_that_is_one_front(protect, expected):
    """``all`` stops none of it; ``net`` spreads what goes on."""
    rung = Rung(3, protect)
    places = np.random.default_rng(0).permutation(30)
    assert sum(rung.judge((float(x), 30.0 - x)) for x in places) in expected


@pytest.mark.slow
def test_of_a_large_front_the_latest_stand_for_all():
    """300 on one front; half of them go on, or 128 of the latest 256."""
    rung, points = Rung(2, "net"), [(float(x), 300.0 - x) for x in np.random.default_rng(0).permutation(300)]
    told = [rung.judge(point) for point in points]
    latest = points[-256:]
    assert told[-1] == (255 in net(latest, list(range(256)))[:128])
    assert 100 < sum(told) < 200


def test_what_breaks_a_constraint_ranks_behind_all_else_and_is_not_protected():
    rung = Rung(2, "all")
    assert [rung.judge((5.0, 5.0)), rung.judge((6.0, 6.0)), rung.judge((1.0, 1.0), feasible=False)] == [
        True,
        False,
        False,
    ]


def test_where_all_break_a_constraint_the_better_of_them_go_on():
    rung = Rung(2, "all")
    assert [rung.judge((x, x), feasible=False) for x in (3.0, 1.0, 2.0, 4.0)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "expected"),
    [(1, 3, 27, [1, 3, 9]), (2, 2, 9, [2, 4, 8]), (4, 3, 5, [4]), (1, 3, 28, [1, 3, 9, 27])],
)
def test_milestones(grace, factor, epochs, expected):
    assert milestones(Rungs(grace=grace, factor=factor), epochs) == expected


# the rungs of a study, and their file


@pytest.fixture
def ladder(tmp_path):
    def make(path=tmp_path / "rungs.jsonl"):
        return Ladder(Rungs(grace=1, factor=2), 8, path)

    return make


def test_between_rungs_nothing_is_recorded(ladder):
    one = ladder()
    assert all(one.judge(f"t{n}", 3, (float(n), float(n))) for n in range(5))
    assert one.sizes() == {1: 0, 2: 0, 4: 0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_not_recorded(ladder, bad):
    one = ladder()
    assert one.judge("t1", 1, (1.0, bad))
    assert one.sizes()[1] == 0


def test_a_trial_is_told_the_same_again(ladder):
    one = ladder()
    told = [one.judge(f"t{n}", 1, (float(n), float(n))) for n in range(4)]
    assert told == [True, False, False, False]
    again = [one.judge(f"t{n}", 1, (0.0, 0.0)) for n in range(4)]
    assert again == told
    assert one.sizes()[1] == 4


def test_another_process_goes_on_where_this_one_was_killed(ladder):
    one, whole = ladder(), ladder(None)
    points = np.random.default_rng(1).random((40, 2)).tolist()
    for number, point in enumerate(points[:20]):
        assert one.judge(f"t{number}", 1, point) == whole.judge(f"t{number}", 1, point)
    two = ladder()
    assert two.sizes() == one.sizes()
    for number, point in enumerate(points):  # the first twenty are told what they were told
        assert two.judge(f"t{number}", 1, point) == (one if number < 20 else whole).judge(f"t{number}", 1, point)
    assert two.sizes()[1] == 40


@pytest.mark.parametrize(
    "torn",
    [b'{"trial": "t9", "epo', b"{", b'{"trial": "t9", "epoch": 1, "vector": [0, 0], "feasible": true, "go": true}'],
)
def test_a_line_that_was_cut_off_is_left_out(ladder, tmp_path, torn):
    one = ladder()
    for number in range(3):
        one.judge(f"t{number}", 1, (float(number), 1.0))
    with (tmp_path / "rungs.jsonl").open("ab") as file:
        file.write(torn)
    two = ladder()
    assert two.sizes()[1] == 3
    two.judge("t3", 1, (9.0, 9.0))
    lines = (tmp_path / "rungs.jsonl").read_text().splitlines()
    assert [json.loads(line)["trial"] for line in lines] == ["t0", "t1", "t2", "t3"]
    assert ladder().sizes()[1] == 4


def test_a_file_that_is_nothing_but_a_torn_line_is_empty(ladder, tmp_path):
    (tmp_path / "rungs.jsonl").write_bytes(b'{"tri')
    ladder().judge("t0", 1, (1.0, 1.0))
    assert ladder().sizes()[1] == 1


def test_pickled_it_knows_what_came_after(ladder):
    """Ray's snapshot of the searcher is older than the last decisions; the file is not."""
    one = ladder()
    one.judge("t0", 1, (1.0, 1.0))
    kept = pickle.dumps(one)
    one.judge("t1", 1, (2.0, 2.0))
    assert pickle.loads(kept).sizes()[1] == 2
    alone = ladder(None)
    alone.judge("t0", 1, (1.0, 1.0))
    assert pickle.loads(pickle.dumps(alone)).sizes()[1] == 1


def test_a_full_disk_ends_nothing(ladder, tmp_path):
    one = ladder(tmp_path / "no folder" / "rungs.jsonl")
    assert one.judge("t0", 1, (1.0, 1.0))
