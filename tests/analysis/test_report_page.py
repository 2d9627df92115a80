"""The page as text: everything in one file, nothing from elsewhere, and no text of a record that a browser would run."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from analysis.report_page import page
from analysis.report_tables import Made
from tests.analysis.recorded import record_of

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


class Seen(HTMLParser):
    """Elements, their attributes, and the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.ids, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.lasttag == "script":
            self.scripts[-1] += data
        self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[1])


def seen(*records):
    return Seen(page(records, [Made()] * len(records), "by a test"))


@pytest.fixture(scope="module")
def three():
    return seen(record_of("a", ("deadzone", "epr"), gops=True), record_of("b", ("uniform",)), record_of("c", count=3))


def test_plotly_is_inside_once_and_nothing_is_fetched(three):
    assert len(three.scripts) == 3
    assert three.scripts[0].strip() == get_plotlyjs().strip()
    assert not [attrs for _, attrs in three.elements if {"src", "srcset", "action"} & set(attrs)]
    assert [attrs["href"] for _, attrs in three.elements if "href" in attrs] == ["data:,"]
    policy = next(a["content"] for _, a in three.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_figure_has_its_place(three):
    assert set(three.data["figures"]) <= set(three.ids)
    assert len(three.ids) == len(set(three.ids))
    fronts = [name for name in three.data["figures"] if name.startswith("front")]
    assert fronts == ["front-0-0", "front-0-1", "front-1-0"]
    labels = [figure["layout"]["meta"]["label"] for figure in three.data["figures"].values()]
    assert all(labels)


def test_curves_carry_their_own_names_and_units(three):
    record = record_of("a", ("deadzone", "epr"), gops=True)
    trial = three.data["trials"]["0:t6"]
    own = record.epochs[record.epochs["trial_id"] == "t6"]
    curves = {curve["name"]: curve["values"] for curve in trial["curves"]}
    assert [curve["name"] for curve in trial["curves"]] == ["accuracy", "size", "gops"]
    assert curves["accuracy"] == pytest.approx((100 * own["accuracy"]).tolist())
    assert curves["size"] == pytest.approx((own["size"] / 1000).tolist())
    assert curves["gops"] == pytest.approx(own["gops"].tolist())
    assert trial["epochs"] == [0, 1, 2, 3]
    assert trial["knobs"][0] == ["bits", "8"]


def test_the_page_opens_with_a_network_of_each_group(three):
    first = three.data["first"]
    assert [three.data["trials"][key]["group"] for key, _ in first] == [0, 1]


def test_few_trials_have_no_importance_and_a_reason(three):
    assert {name for name in three.data["figures"] if name.startswith("importance")} == {"importance-0", "importance-1"}
    assert "needs 10 trials" in three.text


def test_what_a_record_says_is_text_wherever_it_stands():
    plain = record_of()
    trials = plain.trials.assign(kind=HOSTILE, reason=HOSTILE).rename(columns={"bits": HOSTILE})
    tags = {**plain.tags, "space": HOSTILE, "commit": HOSTILE}
    words = {"tags": tags, "network": HOSTILE, "data": HOSTILE, "split": HOSTILE, "run_id": HOSTILE}
    records = [record_of(HOSTILE, (HOSTILE,), trials=trials, **words), record_of("b")]
    made = [Made({"command": HOSTILE, "versions": {HOSTILE: HOSTILE}, "began": HOSTILE}), Made()]
    text = page(records, made, HOSTILE)
    found = Seen(text)
    assert len(found.scripts) == 3
    assert not [tag for tag, attrs in found.elements if tag == "img" or any(name.startswith("on") for name in attrs)]
    assert HOSTILE in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert found.data["trials"]["0:t0"]["knobs"][0][0] == HOSTILE
    assert "<script>alert" not in text


def test_numbers_that_are_not_finite_are_gaps():
    plain = record_of()
    epochs = plain.epochs.assign(accuracy=plain.epochs["accuracy"].where(plain.epochs["trial_id"] != "t11"))
    curves = seen(record_of(epochs=epochs)).data["trials"]["0:t11"]["curves"]
    assert curves[0]["values"] == [None, None]


def test_a_study_without_front_knobs_or_networks_has_a_page():
    plain = record_of(count=2)
    bare = plain.trials[["method", "seed", "end", "reason", "epochs"]]
    found = seen(record_of(trials=bare, epochs=plain.epochs.head(0), front=plain.front.head(0)))
    assert found.data["first"] == []
    assert [name for name in found.data["figures"] if name.startswith("knobs")] == []
