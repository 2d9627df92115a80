"""Tables: what a person reads, and what a program does."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from analysis.tables import cell, fitted, rendered

TABLE = pd.DataFrame(
    {"study": ["a", "b"], "accuracy": [0.9123456789012, np.nan], "size": [1234, 56], "on": [True, False]}
)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.91234, "91.23%"),
        ("accuracy_at_800B", 0.5, "50.00%"),
        ("rel_bops", 0.0512, "5.1%"),
        ("size", 12345.0, "12,345"),
        ("ratio", 7.694887, "7.695"),
        ("ratio", 12.0, "12"),
        ("gops", 3.72e-05, "3.72e-05"),
        ("trained_gops", 123456.7, "123,457"),
        ("accuracy", np.nan, "-"),
        ("method", None, "-"),
        ("method", "deadzone", "deadzone"),
        ("knob", True, "True"),
    ],
)
def test_cells(name, value, text):
    assert cell(name, value) == text


def test_a_table_for_people():
    head, rule, first, second = rendered(TABLE, "table", None, {"size": "bytes"}).splitlines()
    assert head.split() == ["study", "accuracy", "bytes", "on"]
    assert set(rule) == {"-"}
    assert first.split() == ["a", "91.23%", "1,234", "True"]
    assert second.split() == ["b", "-", "56", "False"]
    assert first.index("1,234") + 5 == second.index("56") + 2  # numbers end below each other


def test_programs_get_every_digit():
    found = pd.read_csv(io.StringIO(rendered(TABLE, "csv", 10)))
    pd.testing.assert_frame_equal(found, TABLE)
    rows = json.loads(rendered(TABLE, "json", 10))
    assert rows == [
        {"study": "a", "accuracy": 0.9123456789012, "size": 1234, "on": True},
        {"study": "b", "accuracy": None, "size": 56, "on": False},
    ]


def test_what_a_narrow_terminal_leaves_out_is_said():
    lines = rendered(TABLE, "table", 20).splitlines()
    assert max(map(len, lines[:-1])) <= 20
    assert lines[-1] == "(without size, on: --format csv has all)"


def test_long_names_lose_their_middle_before_columns_go():
    rows = [["tensor", "shape", "bytes"], ["encoder.layers.0.attention.weight", "64x64", "1,234"]]
    head, rule, row = fitted(rows, 40, {2})
    assert row == "encoder.laye…ention.weight  64x64  1,234"
    assert len(row) == 40
    assert head.split() == rows[0]
    assert set(rule) == {"-"}
    assert fitted(rows, None, {2})[2].startswith("encoder.layers.0.attention.weight  ")
