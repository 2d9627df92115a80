"""Sizes as people write them."""

from __future__ import annotations

import math

import pytest

from analysis.quantities import parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (40_000, 40_000),
        ("40kB", 40_000),
        ("1.5MB", 1.5e6),
        ("800B", 800),
        ("800", 800),
        ("64KiB", 65_536),
        ("2 M", 2e6),
    ],
)
def test_sizes_are_bytes(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "kB", "40 kb", "-1", "4apples", 0, -3, True, math.nan, math.inf, "0B", None])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="must be a size above 0"):
        parse_size(value)
