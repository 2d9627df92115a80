from __future__ import annotations

import pytest

from analysis.pareto import Scale
from search.front import Member
from search.shares import shares


def member(method, accuracy, rate):
    return Member(
        trial_id="t", epoch=1, metrics={"accuracy": accuracy, "rate": rate}, config={"method": method}, artifact="x"
    )


SCALE = Scale(["accuracy", "rate"], {"accuracy": 1.0, "rate": 1.0}, 0.0)


def test_what_each_method_has_alone_and_what_only_it_adds():
    """At (0.5, 1/3) and (0, 2/3) of the unit square: areas of 1/3 and 1/3, of which 1/6 in common."""
    found = shares([member("a", 0.5, 0.01), member("b", 1.0, 0.1)], SCALE)
    assert found["a"] == pytest.approx({"members": 1, "alone": 2 / 3, "only": 1 / 3})
    assert found["b"] == pytest.approx({"members": 1, "alone": 2 / 3, "only": 1 / 3})


def test_of_one_method_it_is_all():
    assert shares([member("a", 0.5, 0.01)], SCALE) == {"a": {"members": 1, "alone": 1.0, "only": 1.0}}


def test_of_nothing_it_is_nothing():
    assert shares([], SCALE) == {}
