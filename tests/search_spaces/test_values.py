import math
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search_spaces.values import (
    SpaceError,
    merge,
    nearest,
    parse_duration,
    parse_value,
    parse_yaml,
    spaces_folder,
)


def refused(text):
    with pytest.raises(SpaceError) as caught:
        parse_yaml(text, "x.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("x.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1e5", 1e5),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("+2.", 2.0),
        ("1.5e+3", 1500.0),
        ("0.25", 0.25),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_numbers_are_floats_as_people_write_them(text, number):
    value = parse_yaml(f"x: {text}", "x.yaml")["x"]
    assert (type(value), value) == (float, number)


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("-3", -3), ("1_000", 1000), ("0x1f", 31)])
def test_whole_numbers_stay_whole(text, number):
    value = parse_value(text)
    assert (type(value), value) == (int, number)


@pytest.mark.parametrize("text", ["e5", "1e", "1.2.3", ".", "'1e-4'", "inf", "1e5x", "0x"])
def test_what_is_no_number_stays_a_text(text):
    assert parse_value(text) == text.strip("'")


def test_not_a_number_is_a_float():
    assert math.isnan(parse_value(".nan"))


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("null", None), ("", None), ("[1, a]", [1, "a"]), ("{a: 1e-3}", {"a": 0.001})]
)
def test_the_value_of_a_flag_is_yaml(text, value):
    assert parse_value(text) == value


def test_a_flag_that_is_no_yaml_names_itself():
    with pytest.raises(SpaceError, match=r"^value '\[1': not YAML|^value '\[1':1: not YAML"):
        parse_value("[1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: not YAML (the key 'a' stands twice)"),
        ("s:\n  lr: 1\n  lr: 1\n", "x.yaml:3: not YAML (the key 'lr' stands twice)"),
        ("a: {b: 1, 'b': 2}", "x.yaml:1: not YAML (the key 'b' stands twice)"),
        ("1: a\n1: b", "x.yaml:2: not YAML (the key 1 stands twice)"),
        ("a: 1\n\tb: 2", r"x.yaml:2: not YAML (found character '\t'"),
        ("? [a]\n: 1", "x.yaml:1: not YAML (a key must be a plain word)"),
        ("a: 1\n---\nb: 2", "x.yaml:2: not YAML (but found another document)"),
        ("a: *b", "x.yaml:1: not YAML (found undefined alias 'b')"),
        ("<<: {a: 1}", "x.yaml:1: not YAML (could not determine a constructor"),
        ("a: \0", "x.yaml: not YAML (unacceptable character #x0000"),
        ("a: 2020-13-45", "x.yaml: not YAML (month must be in 1..12)"),
        ("[" * 1000, "x.yaml: not YAML (maximum recursion depth"),
        ("a: 'b", "x.yaml:1: not YAML (found unexpected end of stream)"),
    ],
)
def test_what_is_no_yaml_is_one_line_with_its_place(text, reason):
    assert refused(text).startswith(reason)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object:os.system x",
        "!!python/object/apply:os.system [touch sprung]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!mine {a: 1}",
    ],
)
def test_tags_construct_nothing(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "could not determine a constructor for the tag" in refused(f"a: {text}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!binary x", "!!omap [a]"])
def test_tags_that_do_not_fit_their_value_are_one_line(text):
    assert "not YAML" in refused(f"a: {text}")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:- \n\t[]{}'\"!&*?|>%@`#,.0123e\0\x85é", max_size=40))
@example("&a [*a]")
def test_any_text_is_data_or_one_line(text):
    try:
        parse_yaml(text, "x.yaml")
    except SpaceError:
        refused(text)


words = st.text(alphabet="abcdfghijk", min_size=1, max_size=6)
scalars = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | words
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


@settings(max_examples=100, deadline=None)
@given(plain)
def test_what_yaml_writes_is_read_back(data):
    assert parse_yaml(yaml.safe_dump(data), "x.yaml") == data


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("8m", 480),
        ("1h30m", 5400),
        ("90s", 90),
        ("90", 90),
        (90, 90),
        (0.5, 0.5),
        ("1.5h", 5400),
        ("2h5s", 7205),
        ("1h2m3.5s", 3723.5),
        (" 8m ", 480),
    ],
)
def test_durations_are_seconds(value, seconds):
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["0", 0, -1, "-1", "x", "", "1d", "m", "1s30", "1h30", "8 m", "0h0m", True, None, math.nan, math.inf, [1], 10**400]
    + ["9" * 400],
    ids=lambda value: repr(value)[:12],
)
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match=r"must be a time .*such as 90s, 8m or 1h30m$"):
        parse_duration(value)


def test_mappings_are_merged_key_by_key_and_the_rest_is_replaced():
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merge(below, {"a": {"c": [3]}, "d": {"e": 5}}) == {"a": {"b": 1, "c": [3]}, "d": {"e": 5}}
    assert merge({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merge({"a": 1}, {}) == {"a": 1}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 4}


def test_the_nearest_word_or_all_of_them():
    assert nearest("serch", ["seed", "search"]) == "; did you mean 'search'?"
    assert nearest("zzz", ["b", "a"]) == "; valid: a, b"


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(SpaceError("x.yaml: a\n  b\u2028c")) == "x.yaml: a b c"


def test_the_spaces_lie_beside_their_grammar():
    assert (spaces_folder() / "smoke.yaml").is_file()
    assert isinstance(spaces_folder(), Path)
