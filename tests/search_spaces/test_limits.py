from __future__ import annotations

import pytest
from pydantic import ValidationError

from search_spaces.limits import Constraints

NETWORK = {"size": 50_000, "accuracy": 0.85, "gops": 0.02}


def test_nothing_is_broken_where_nothing_is_asked():
    assert Constraints().excess(NETWORK) == {}
    assert Constraints().broken({}) == []


def test_excess_is_above_zero_where_a_limit_is_broken():
    limits = Constraints(max_size="40kB", min_accuracy=0.9, max_gops=0.04)
    assert limits.excess(NETWORK) == pytest.approx({"max_size": 0.25, "min_accuracy": 0.05, "max_gops": -0.5})
    assert limits.broken(NETWORK) == ["max_size", "min_accuracy"]


def test_what_just_keeps_a_limit_keeps_it():
    assert Constraints(max_size=50_000, min_accuracy=0.85, max_gops=0.02).broken(NETWORK) == []


@pytest.mark.parametrize(
    "wrong", [{"max_size": 0}, {"max_size": "40 apples"}, {"min_accuracy": 90}, {"max_gops": 0}, {"x": 1}]
)
def test_what_is_no_limit_is_refused(wrong):
    with pytest.raises(ValidationError):
        Constraints(**wrong)
