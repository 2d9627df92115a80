"""Points of a space: what they may say, and what flags take out of them."""

from __future__ import annotations

import pytest

from compress.methods.deadzone import Deadzone
from search_spaces import Space

POINT = {"learnable_bit": True, "max_bits": 6, "statistic.kind": "quantile", "quantile": 0.95, "dz.weight_decay": 2}


def points(raw, given, changes=None):
    return Space.from_raw("x", "x.yaml", {**raw, "points": given}, changes).file.points


def test_without_the_section_there_are_none(raw):
    assert Space.from_raw("x", "x.yaml", raw).file.points == []


def test_points_keep_order_and_may_leave_knobs_out(raw):
    given = [POINT, {"base.lr": 2e-3}, {"layer_bits.0.bits": 3, "group_lasso.lambda": 0.5}]
    assert points(raw, given) == given


def test_numbers_are_what_their_domain_says(raw):
    (point,) = points(raw, [{"dz.weight_decay": 2, "max_bits": 5, "learnable_bit": True, "init_deadzone_logit": 1}])
    assert [type(value) for value in point.values()] == [float, int, bool, float]


def test_every_value_a_searcher_can_draw_is_a_point(raw):
    """Ends of domains, and any place of a grid, however its floats round."""
    space = Space.from_raw("x", "x.yaml", raw)
    for name, domain in space.draws().items():
        if name in ("max_bits", "fixed_bit_val", "quantile"):
            continue  # where they exist is tried elsewhere
        for value in domain.probes():
            assert points(raw, [{name: value}]) == [{name: value}]
    for step in range(1, 11):
        assert points(raw, [{"base.lr": step * 1e-3}, {"base.lr": round(step * 1e-3, 6)}])


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ({"max_bit": 6}, "points.0.max_bit = 6: not searched; did you mean 'max_bits'?"),
        ({"scale": "tensor"}, "points.0.scale = 'tensor': not searched; valid: base.lr, dz.weight_decay,"),
        ({"statistic": "max"}, "points.0.statistic = 'max': not searched; did you mean 'statistic.kind'?"),
        ({"init_deadzone_logit": 1.6}, "points.0.init_deadzone_logit = 1.6: must be a number from 0.5 to 1.5"),
        ({"init_deadzone_logit": True}, "init_deadzone_logit = True: must be a number from 0.5 to 1.5"),
        ({"init_deadzone_logit": None}, "init_deadzone_logit = None: must be a number from 0.5 to 1.5"),
        ({"init_deadzone_logit": [1.0]}, "init_deadzone_logit = [1.0]: must be a number from 0.5 to 1.5"),
        ({"learnable_bit": True, "max_bits": 9}, "max_bits = 9: must be a whole number from 4 to 8"),
        ({"learnable_bit": True, "max_bits": 5.0}, "max_bits = 5.0: must be a whole number from 4 to 8"),
        ({"base.lr": 1.5e-3}, "base.lr = 0.0015: must be a number from 0.001 to 0.01 in steps of 0.001"),
        ({"learnable_bit": 1}, "points.0.learnable_bit = 1: must be one of its choices, True, False"),
        ({"statistic.kind": "mean"}, "statistic.kind = 'mean': must be one of its choices, 'max', 'quantile'"),
        (
            {"learnable_bit": False, "max_bits": 5},
            "points.0.max_bits = 5: exists only where learnable_bit is True, and the point must say so",
        ),
        ({"max_bits": 5}, "points.0.max_bits = 5: exists only where learnable_bit is True, and the point must say so"),
        (
            {"statistic.kind": "max", "quantile": 0.9},
            "quantile = 0.9: exists only where statistic is ['quantile'], and the point must say so",
        ),
        ({}, "points.0: names no knob"),
        (3, "points.0 = 3: must be a mapping"),
    ],
    ids=str,
)
def test_a_point_that_cannot_be_tried_is_refused_in_one_line(raw, refused, point, line):
    assert line in refused({**raw, "points": [point]})


def test_the_line_says_which_point(raw, refused):
    assert refused({**raw, "points": [POINT, {"max_bit": 3}]}).startswith("x.yaml: points.1.max_bit = 3: ")


@pytest.mark.parametrize("given", [3, {"max_bits": 5}, None, "max_bits"])
def test_the_section_is_a_list(raw, refused, given):
    assert "points = " in refused({**raw, "points": given})
    assert "must be a list" in refused({**raw, "points": given})


def test_values_that_make_no_method_together_are_refused(raw, refused, monkeypatch):
    monkeypatch.setattr(
        Deadzone, "phases", lambda self, epochs: {"train": epochs + (self.max_bits == self.init_deadzone_logit + 4)}
    )
    point = {"learnable_bit": True, "max_bits": 5, "init_deadzone_logit": 0.75}
    assert points(raw, [point]) == [point]
    assert "which does not add up" in refused({**raw, "points": [{**point, "init_deadzone_logit": 1.0}]})


def test_a_template_may_be_given_in_part_and_is_tried_as_a_whole(raw, refused):
    halves = {"a": ["quant", "quanti"], "b": ["ile", "le"]}
    holes = {name: {"type": "categorical", "choices": choices} for name, choices in halves.items()}
    raw["search"]["statistic"] = {"template": "{a:s}{b:s}", "holes": holes}
    assert points(raw, [{"statistic.a": "quant"}]) == [{"statistic.a": "quant"}]
    whole = {"statistic.a": "quanti", "statistic.b": "le"}
    assert points(raw, [{**whole, "quantile": 0.95}]) == [{**whole, "quantile": 0.95}]
    assert "statistic = 'quantle'" in refused({**raw, "points": [{**whole, "statistic.a": "quant"}]})
    assert "quantile = 0.95: exists only" in refused({**raw, "points": [{"statistic.a": "quant", "quantile": 0.95}]})


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"dz.weight_decay": 1.0}, {k: v for k, v in POINT.items() if k != "dz.weight_decay"}),
        ({"optimizer.dz.weight_decay": 1.0}, {k: v for k, v in POINT.items() if k != "dz.weight_decay"}),
        ({"max_bits": 4}, {k: v for k, v in POINT.items() if k != "max_bits"}),
        ({"learnable_bit": True}, {k: v for k, v in POINT.items() if k != "learnable_bit"}),
        ({"learnable_bit": False}, {k: v for k, v in POINT.items() if k not in ("learnable_bit", "max_bits")}),
        ({"statistic": "quantile"}, {k: v for k, v in POINT.items() if k != "statistic.kind"}),
        ({"statistic": "max"}, {k: v for k, v in POINT.items() if k not in ("statistic.kind", "quantile")}),
        ({"seed": 5, "budget.trials": 2}, POINT),
    ],
    ids=str,
)
def test_what_a_flag_fixes_leaves_the_points(raw, changes, left):
    assert points(raw, [POINT], changes) == [left]


def test_a_point_of_which_nothing_is_left_goes(raw):
    assert points(raw, [{"base.lr": 2e-3}, {"dz.weight_decay": 1.0}], {"base.lr": 1e-3}) == [{"dz.weight_decay": 1.0}]


def test_a_flag_does_not_excuse_another_mistake(raw, refused):
    assert "points.0.max_bit = 3" in refused({**raw, "points": [{"max_bit": 3}]}, {"base.lr": 1e-3})
    assert "exists only where" in refused({**raw, "points": [{"max_bits": 5}]}, {"base.lr": 1e-3})


def test_points_can_be_set_by_a_flag(raw):
    assert points(raw, [POINT], {"points": [{"base.lr": 1e-3}]}) == [{"base.lr": 1e-3}]
    assert points(raw, [POINT], {"points": []}) == []


def test_embedded_points_replace_the_others(raw):
    space = Space.from_raw("x", "x.yaml", {**raw, "points": [POINT], "embedded": {"points": [{"base.lr": 1e-3}]}})
    assert (space.file.points, space.embedded().file.points) == ([POINT], [{"base.lr": 1e-3}])


def test_embedded_domains_that_do_not_hold_the_points_are_refused(raw, refused):
    embedded = {"search": {"dz.weight_decay": {"type": "float", "low": 0.1, "high": 1.0}}}
    line = refused({**raw, "points": [POINT], "embedded": embedded})
    assert line.startswith("x.yaml (embedded): points.0.dz.weight_decay = 2: ")


def test_resolved_shows_the_points_that_are_tried(raw):
    space = Space.from_raw("x", "x.yaml", {**raw, "points": [POINT]}, {"max_bits": 4})
    again = Space.from_raw("x", "x.yaml", space.resolved())
    assert again.file.points == space.file.points == space.resolved()["points"]


# the spaces that come with the project


@pytest.mark.parametrize("name", ["deadzone_resnet20", "deadzone_mlp", "deadzone_vit"])
def test_the_dead_zone_spaces_start_with_the_originals_decay(name):
    for space in (Space.load(name), Space.load(name).embedded()):
        first, *others = space.file.points
        assert first["dz.weight_decay"] == 2.5
        assert len(others) == 2
        for point in space.file.points:
            whole = space.point(lambda name, domain, point=point: point[name])  # nothing is left out
            assert set(whole) == set(point)
            assert space.config(whole)["optimizer"]["dz"]["weight_decay"] == point["dz.weight_decay"]
