"""What the page's figures hold: the tables' numbers, whose trial a point is, and nothing that a browser would run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis.figures import climb, knob_lines, members, series_of
from analysis.importance import importance
from analysis.interactive import climb_figure, front_figure, importance_figure, knobs_figure
from tests.analysis.recorded import record_of


def traces(figure, **meta):
    """Of the figure as JSON those whose meta has these values."""
    return [t for t in json.loads(figure.to_json())["data"] if meta.items() <= (t.get("meta") or {}).items()]


def test_a_front_shows_every_member_where_it_is():
    series = series_of([record_of()])[0]
    (drawn,) = traces(front_figure([series], "size"), role="on the front")
    table = members(series, "size")
    assert drawn["x"] == pytest.approx(table["cost"].tolist())
    assert drawn["y"] == pytest.approx(table["accuracy"].tolist())
    assert drawn["customdata"] == [[f"0:{row.trial_id}", row.epoch] for row in table.itertuples()]
    assert all("bits = " in text for text in drawn["text"])


def test_members_for_another_cost_and_other_trials_stand_back():
    series = series_of([record_of(gops=True)])[0]
    figure = front_figure([series], "gops")
    best, second, rest = (
        traces(figure, role=role)[0]
        for role in ("on the front", "on the front for another cost", "last network of a trial")
    )
    assert len(best["x"]) + len(second["x"]) == len(series.record.front)
    assert best["marker"]["opacity"] > second["marker"]["opacity"] > rest["marker"]["opacity"]


def test_a_filter_finds_what_belongs_to_a_method():
    lines = series_of([record_of("a", ("deadzone", "epr")), record_of("b", ("uniform",))])
    figure = front_figure(lines, "size")
    assert {t["meta"]["series"] for t in traces(figure) if "series" in t["meta"]} == {0, 1, 2}
    assert [t["meta"]["all"] for t in traces(figure) if "all" in t["meta"]] == [[0, 1], [2]]
    assert [t["meta"]["any"] for t in traces(climb_figure(lines))] == [[0, 1], [2]]


def test_test_data_wait_until_they_are_asked_for():
    series = series_of([record_of()])[0]
    (drawn,) = traces(front_figure([series], "size"), test=True)
    assert drawn["visible"] is False
    assert drawn["y"] == pytest.approx(members(series, "size")["test"].tolist())
    untested = record_of(front=record_of().front.assign(test_accuracy=np.nan))
    assert not traces(front_figure(series_of([untested]), "size"), test=True)


def test_luck_is_crossed_out():
    plain = record_of()
    chance = [0.1] + [0.9] * (len(plain.front) - 1)
    front = plain.front.assign(seeds_accuracy=0.9, seeds_std=0.01, on_front=chance)
    (cross,) = traces(front_figure(series_of([record_of(front=front)]), "size"), role="luck")
    assert cross["y"] == pytest.approx([100 * front["accuracy"].iloc[0]])


def test_what_is_far_below_the_dense_network_is_out_of_sight_and_counted():
    plain = record_of()
    ruined = plain.front.iloc[-1:].assign(accuracy=0.3, size=100)
    front = record_of(front=pd.concat([plain.front, ruined], ignore_index=True))
    layout = front_figure(series_of([front]), "size").layout
    assert layout.yaxis.range[0] > 80
    assert 10 ** layout.xaxis.range[0] > 0.5
    assert any(note.text.startswith("1 below") for note in layout.annotations)


def test_an_empty_front_is_still_a_figure():
    plain = record_of()
    figure = front_figure(series_of([record_of(front=plain.front.head(0))]), "size")
    assert [t["meta"]["role"] for t in traces(figure) if "role" in t["meta"]] == ["last network of a trial"]


def test_hypervolume_is_drawn_as_it_grew():
    record = record_of()
    (line,) = traces(climb_figure(series_of([record])))
    assert line["y"] == pytest.approx(climb(record)["hypervolume"].tolist(), abs=1e-5)
    assert line["line"]["shape"] == "hv"


def test_each_trial_is_one_line_with_gaps_between():
    series = series_of([record_of()])[0]
    axes, places = knob_lines(series)
    off, on = traces(knobs_figure(series))
    assert off["y"].count(None) + on["y"].count(None) == len(places)
    assert {key for key, _ in on["customdata"]} == {f"0:{name}" for name in places.index[places["front"]]}
    assert on["x"][: len(axes) + 1] == [*range(len(axes)), None]
    assert on["y"][: len(axes)] == pytest.approx(places.drop(columns="front").loc["t0"].tolist(), abs=1e-4)


def test_importance_has_two_bars_a_knob():
    found = importance(record_of())
    figure = json.loads(importance_figure(found).to_json())
    assert [bar["name"] for bar in figure["data"]] == ["to be accurate at 7 kB or less", "to reach the front"]
    shares = dict(zip(figure["data"][1]["y"], figure["data"][1]["x"], strict=True))
    assert shares == pytest.approx((100 * found.shares["front"]).to_dict(), abs=0.01)


def test_no_text_of_a_record_is_html_to_plotly():
    plain = record_of()
    trials = plain.trials.assign(kind='<a href="x">y</a>').rename(columns={"bits": "<b>bits</b>"})
    record = record_of("<i>name</i>", trials=trials, network="<u>net</u>")
    lines = series_of([record, record])
    for figure in (front_figure(lines, "size"), knobs_figure(lines[0]), climb_figure(lines)):
        text = figure.to_json()
        for tag in ("\\u003ca", "<a", "<i>", "<u>", "<b>bits", "\\u003ci\\u003e", "\\u003cb\\u003ebits"):
            assert tag not in text
