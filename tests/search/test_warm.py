from __future__ import annotations

import json

import pytest
import yaml

from search.folder import StudyError
from search.warm import Found, fitted, read_front
from search_spaces import Space
from tests.search_spaces.test_several import RAW

POINT = {"init_deadzone_logit": 1.0, "max_bits": 5, "dz.weight_decay": 2.5}


def found(*points, method="deadzone"):
    return Found("other", tuple({"method": method, **point} for point in points))


def test_a_front_is_read_with_its_method_each_configuration_once(tmp_path):
    (tmp_path / "front.json").write_text(json.dumps([{"config": {"a": 1}}, {"config": {"a": 2}}, {"config": {"a": 1}}]))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"resolved": {"method": "epr"}}))
    assert read_front(tmp_path).points == ({"method": "epr", "a": 1}, {"method": "epr", "a": 2})


@pytest.mark.parametrize("text", [None, "", "{", "[3]", "{}", "[{}]"])
def test_what_is_no_study_is_refused_in_one_line(tmp_path, text):
    if text is not None:
        (tmp_path / "front.json").write_text(text)
        (tmp_path / "study.yaml").write_text("resolved: {}")
    with pytest.raises(StudyError, match="holds no front of a study") as caught:
        read_front(tmp_path)
    assert "\n" not in str(caught.value)


def test_points_come_before_the_spaces_own(smoke_space):
    raw = {**smoke_space().raw, "points": [{"max_bits": 4}]}
    space, line = fitted(Space.from_raw("x", "x.yaml", raw), found(POINT))
    assert space.file.points == [POINT, {"max_bits": 4}]
    assert line == (
        "warm start from other: 1 of its 1 configurations, knobs dz.weight_decay, init_deadzone_logit, max_bits"
    )


def test_numbers_are_clipped_and_what_is_not_searched_is_left_out(smoke_space):
    space, line = fitted(smoke_space(), found({"max_bits": 16, "dz.weight_decay": 3, "scale": "channel"}))
    assert space.file.points == [{"max_bits": 8, "dz.weight_decay": 3.0}]
    assert line.endswith("knobs dz.weight_decay, max_bits; clipped: max_bits")


def test_nothing_shared_is_said(smoke_space):
    space, line = fitted(smoke_space(), found({"bitwidth": 4}))
    assert space.file.points == []
    assert line == "warm start from other: 0 of its 1 configurations, no knob is shared"


def test_at_most_half_of_the_trials_evenly(smoke_space):
    points = [{**POINT, "init_deadzone_logit": 0.5 + n / 10} for n in range(10)]
    space, _ = fitted(smoke_space(budget__trials=6), found(*points))
    assert [point["init_deadzone_logit"] for point in space.file.points] == pytest.approx([0.5, 0.9, 1.4])


def test_into_a_space_of_several_methods():
    space = Space.from_raw("all", "all.yaml", {**RAW, "points": []})
    assert fitted(space, found({"max_bits": 5, "base.lr": 5e-3}))[0].file.points == [
        {"method": "deadzone", "deadzone.max_bits": 5, "base.lr": 5e-3}
    ]
    assert fitted(space, found({"bitwidth": 5, "base.lr": 5e-3}, method="uniform"))[0].file.points == []


def test_a_knob_that_does_not_exist_under_the_others_is_left_out():
    space = Space.from_raw("all", "all.yaml", {**RAW, "points": []})
    given = found({"prior": "grid", "steps": "channel", "lambda_RD": 1.0}, method="epr")
    assert fitted(space, given)[0].file.points == [{"method": "epr", "epr.prior": "grid", "epr.lambda_RD": 1.0}]
