from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures import axis_of, members, series_of
from analysis.labels import axis_ends, axis_title, cut, in_words, knob_text, short, trial_text
from tests.analysis.recorded import record_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (np.int64(12345), "12,345"),
        (0.00012345, "0.000123"),
        (1e9, "1e+09"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("logistic", "logistic"),
        (None, "–"),
        (float("nan"), "–"),
        (pd.NA, "–"),
        (np.inf, "inf"),
    ],
)
def test_values_are_short(value, text):
    assert short(value) == text


def test_a_tooltip_tells_trial_network_and_knobs():
    series = series_of([record_of()])[0]
    row = members(series, "size").to_dict("records")[-1]
    lines = trial_text(series, row["trial_id"], row, "size").split("<br>")
    assert lines[:3] == [
        "<b>deadzone</b>, trial t6, epoch 0",
        "accuracy 93.15 % (test 92.15 %)",
        "32 kB, 2.5 times smaller",
    ]
    assert "bits = 8" in lines
    assert trial_text(series, "t6").startswith("<b>deadzone</b>, trial t6<br>bits = 8<br>")


def test_a_tooltip_says_how_sure_a_member_is():
    series = series_of([record_of()])[0]
    row = {"epoch": 1, "accuracy": 90.0, "cost": 2.0, "times": 40.0, "on_front": 0.25}
    assert "really on the front: 25 % by other seeds" in trial_text(series, "t1", row).replace("25%", "25 %")


def test_what_a_record_says_is_no_html_in_a_tooltip():
    plain = record_of()
    trials = plain.trials.assign(kind="<a href='http://x'>y</a>").rename(columns={"bits": "<i>bits</i>"})
    text = trial_text(series_of([record_of(trials=trials)])[0], "t1")
    assert "<a" not in text
    assert "<i>" not in text
    assert "&lt;i&gt;bits" in text


def test_many_knobs_are_counted_and_long_ones_cut():
    plain = record_of()
    trials = plain.trials.assign(**{f"knob{i}": "v" * 80 for i in range(20)})
    lines = trial_text(series_of([record_of(trials=trials)])[0], "t1").split("<br>")
    assert lines[-1] == "… and 10 more"
    assert max(map(len, lines)) < 60
    assert cut("abcdef", 4) == "abc…"


def test_knobs_that_a_trial_does_not_set_are_left_out():
    plain = record_of()
    series = series_of([record_of(trials=plain.trials.assign(bits=np.nan, kind=None, more=[1, *[None] * 11]))])[0]
    assert [name for name, _ in knob_text(series, "t0")] == ["base.lr", "once", "more"]
    assert [name for name, _ in knob_text(series, "t1")] == ["base.lr", "once"]


def test_axes_have_ends_and_titles():
    assert axis_ends(axis_of("n", pd.Series([2, 8]))) == {0.0: "2", 1.0: "8"}
    assert axis_ends(axis_of("n", pd.Series([2, 2]))) == {0.5: "2"}
    assert axis_ends(axis_of("n", pd.Series(["a", "b", "c"]))) == {0.0: "a", 0.5: "b", 1.0: "c"}
    assert axis_ends(axis_of("n", pd.Series(["a"]))) == {0.5: "a"}
    assert (axis_title("size"), axis_title("base.lr")) == ("size in kB", "base.lr")
    assert (in_words(12.3456, "size"), in_words(0.5, "sparsity")) == ("12.35 kB", "sparsity 0.5")
