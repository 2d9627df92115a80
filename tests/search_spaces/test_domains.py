import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search_spaces.domains import Categorical, Domain, Float, Int, Template

DOMAIN = TypeAdapter(Domain)
KIND = {"type": "categorical", "choices": ["a", "b"]}


def refused(plain):
    with pytest.raises(ValidationError) as caught:
        DOMAIN.validate_python(plain)
    return "; ".join(e["msg"] for e in caught.value.errors())


@pytest.mark.parametrize(
    ("plain", "kind", "probes"),
    [
        ({"type": "float", "low": 1, "high": 2.5}, Float, [1.0, 2.5]),
        ({"type": "float", "low": 1e-3, "high": 1, "log": True}, Float, [1e-3, 1.0]),
        ({"type": "int", "low": 2, "high": 8, "step": 2}, Int, [2, 8]),
        ({"type": "int", "low": 3, "high": 3}, Int, [3, 3]),
        ({"type": "categorical", "choices": [True, 2, 0.5, "x", None]}, Categorical, [True, 2, 0.5, "x", None]),
        ({"template": "f({a}, {b})", "holes": {"a": KIND, "b": KIND}}, Template, ["f(a, a)", "f(b, b)"]),
    ],
)
def test_a_domain_is_what_its_type_says_and_is_tried_at_its_ends(plain, kind, probes):
    domain = DOMAIN.validate_python(plain)
    assert type(domain) is kind
    assert [(type(p), p) for p in domain.probes()] == [(type(p), p) for p in probes]


@pytest.mark.parametrize(
    ("plain", "rule"),
    [
        ({"type": "float", "low": 2, "high": 1}, "low must not be above high, 2.0 > 1.0"),
        ({"type": "int", "low": 2, "high": 1}, "low must not be above high, 2 > 1"),
        ({"type": "float", "low": 0, "high": 1, "log": True}, "a log domain needs low above 0, not 0.0"),
        ({"type": "int", "low": -1, "high": 1, "log": True}, "a log domain needs low above 0, not -1"),
        ({"type": "float", "low": 0.1, "high": 1, "log": True, "step": 0.1}, "log and step exclude each other"),
        ({"type": "int", "low": 1, "high": 4, "log": True, "step": 1}, "log and step exclude each other"),
        ({"type": "float", "low": 0, "high": 1, "step": 0}, "greater than 0"),
        ({"type": "int", "low": 0.5, "high": 1}, "valid integer"),
        ({"type": "int", "low": True, "high": 4}, "valid integer"),
        ({"type": "float", "low": "0", "high": 1}, "valid number"),
        ({"type": "float", "low": 0, "high": float("inf")}, "finite number"),
        ({"type": "float", "high": 1}, "Field required"),
        ({"type": "int", "low": 0, "high": 1, "choices": [1]}, "Extra inputs"),
        ({"type": "categorical", "choices": []}, "at least 1 item"),
        ({"type": "categorical"}, "Field required"),
        ({"type": "floot", "low": 0, "high": 1}, "needs type: float, int or categorical, or a template"),
        ({"low": 0, "high": 1}, "needs type: float, int or categorical, or a template"),
        ({"type": ["int"]}, "needs type: float, int or categorical, or a template"),
        (3, "needs type: float, int or categorical, or a template"),
        (None, "needs type: float, int or categorical, or a template"),
    ],
)
def test_a_domain_that_cannot_be_drawn_from_is_refused(plain, rule):
    assert rule in refused(plain)


@pytest.mark.parametrize(
    ("template", "holes", "rule"),
    [
        ("{a}", {}, "names the holes ['a'], holes gives []"),
        ("{a}", {"b": KIND}, "names the holes ['a'], holes gives ['b']"),
        ("plain", {}, "they must be the same"),
        ("{0}", {"0": KIND}, "they must be the same"),
        ("{}", {"": KIND}, "they must be the same"),
        ("{a.b}", {"a.b": KIND}, "they must be the same"),
        ("{a", {"a": KIND}, "template is malformed"),
        ("{a:d}", {"a": KIND}, "template does not fit its holes"),
        ("{a!x}", {"a": KIND}, "template does not fit its holes"),
        ("{a:{b}}", {"a": KIND}, "template does not fit its holes"),
        ("{a}", {"a": {"template": "{b}", "holes": {"b": KIND}}}, "Unable to extract tag"),
        ("{a}", {"a": {"type": "floot"}}, "does not match any of the expected tags"),
    ],
)
def test_a_template_and_its_holes_must_fit(template, holes, rule):
    assert rule in refused({"template": template, "holes": holes})


def test_a_template_is_filled():
    plain = {"template": "{{x}} f({a:.2f}, {b})", "holes": {"a": {"type": "float", "low": 0, "high": 1}, "b": KIND}}
    assert DOMAIN.validate_python(plain).fill({"a": 0.5, "b": "z"}) == "{x} f(0.50, z)"


def test_conditions_are_scalars_or_lists_of_them():
    when = {"a": True, "b": [1, "x", None]}
    assert DOMAIN.validate_python({"type": "int", "low": 0, "high": 1, "when": when}).when == when
    assert "valid" in refused({"type": "int", "low": 0, "high": 1, "when": {"a": {}}})
    assert "dictionary" in refused({"type": "int", "low": 0, "high": 1, "when": ["a"]})


def test_a_domain_does_not_change():
    domain = DOMAIN.validate_python({"type": "int", "low": 0, "high": 1})
    with pytest.raises(ValidationError, match="frozen"):
        domain.low = -1


@st.composite
def ranges(draw):
    """Numbers that a knob may have, of both kinds, with logarithm or grid."""
    kind, shape = draw(st.sampled_from(["float", "int"])), draw(st.sampled_from(["plain", "log", "step"]))
    number = st.integers(1, 1000) if kind == "int" else st.floats(1e-6, 1e3)
    low, span = draw(number), draw(number)
    step = {"step": draw(number)} if shape == "step" else {}
    return DOMAIN.validate_python({"type": kind, "low": low, "high": low + span, "log": shape == "log", **step})


@given(ranges(), st.floats(-0.5, 1.5))
def test_every_share_of_a_range_is_a_value_that_it_has(domain, share):
    value = domain.at(share)
    assert type(value) is type(domain.low)
    assert domain.low <= value <= domain.high
    assert domain.nearest(value) == value
    if domain.step is not None:
        steps = (value - domain.low) / domain.step
        assert math.isclose(steps, round(steps), abs_tol=1e-6)
    elif isinstance(domain, Float):
        assert math.isclose(domain.share(value), min(max(share, 0.0), 1.0), abs_tol=1e-6)


def test_shares_are_of_the_logarithm_where_it_is_drawn():
    assert Float(type="float", low=1e-4, high=1e-2, log=True).share(1e-3) == pytest.approx(0.5)
    assert Float(type="float", low=0.0, high=4.0).share(1.0) == 0.25
    assert Int(type="int", low=3, high=3).share(3) == 0
    assert Int(type="int", low=1, high=100, log=True).at(0.5) == 10
