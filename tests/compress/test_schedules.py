import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.schedules import SCHEDULES, Shape, learning_rate_factor, parse_beta

SHAPE = Shape(milestones=(0.25, 0.5), gamma=0.2, power=2.0)


@pytest.mark.parametrize(
    ("name", "start", "middle", "end"),
    [("cosine", 1, 0.5, 0), ("constant", 1, 1, 1), ("multistep", 1, 0.04, 0.04), ("poly", 1, 0.25, 0)],
)
def test_end_points_and_middle(name, start, middle, end):
    factors = [learning_rate_factor(name, progress, SHAPE) for progress in (0, 0.5, 1)]
    assert factors == pytest.approx([start, middle, end], abs=1e-15)


@pytest.mark.parametrize(("progress", "factor"), [(0.2499, 1), (0.25, 0.2), (0.4999, 0.2), (0.5, 0.04), (1, 0.04)])
def test_a_milestone_counts_from_itself_on(progress, factor):
    assert learning_rate_factor("multistep", progress, SHAPE) == pytest.approx(factor)


def test_milestones_need_no_order():
    shape = Shape(milestones=(0.5, 0.25), gamma=0.2)
    assert learning_rate_factor("multistep", 0.3, shape) == pytest.approx(0.2)


def test_cosine_at_a_quarter():
    assert learning_rate_factor("cosine", 0.25, SHAPE) == pytest.approx(0.8535533905932737)


def test_poly_follows_its_power():
    assert learning_rate_factor("poly", 0.75, Shape(power=0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@given(first=st.floats(0, 1), second=st.floats(0, 1))
def test_factors_fall_and_stay_in_the_unit_interval(name, first, second):
    early = learning_rate_factor(name, min(first, second), Shape())
    late = learning_rate_factor(name, max(first, second), Shape())
    assert 0 <= late <= early <= 1


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_progress_is_clipped(name):
    assert learning_rate_factor(name, -3, SHAPE) == learning_rate_factor(name, 0, SHAPE)
    assert learning_rate_factor(name, 1.5, SHAPE) == learning_rate_factor(name, 1, SHAPE)


# betas


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ConstantBeta(0.5)", (0.5, 0.5, 0.5)),
        ("LinearBeta(1e-4, 1e-3)", (1e-4, 5.5e-4, 1e-3)),
        ("LinearBeta(1,0)", (1.0, 0.5, 0.0)),
        (" CosineBeta(0, 2) ", (0.0, 1.0, 2.0)),
        ("PolyBeta(1, 0)", (1.0, 0.5**0.9, 0.0)),
        ("MultistepBeta(1, 0)", (1.0, 0.1, 0.01)),
        (0.25, (0.25, 0.25, 0.25)),
        ("0.25", (0.25, 0.25, 0.25)),
        (0, (0.0, 0.0, 0.0)),
    ],
)
def test_a_beta_goes_from_start_to_end(text, values):
    beta = parse_beta(text)
    assert [beta(p) for p in (0.0, 0.5, 1.0)] == pytest.approx(values)
    assert (beta(-1.0), beta(2.0)) == pytest.approx((values[0], values[2]))


@pytest.mark.parametrize(
    "text",
    [
        "LinearBeta(1)",
        "ConstantBeta(1, 2)",
        "ConstantCoefficient(1)",
        "constantBeta(1)",
        "LinearBeta(1, 2) + 1",
        "__import__('os').system('true')",
        "LinearBeta(__import__('os'), 1)",
        "LinearBeta(a, b)",
        "LinearBeta(-1, 1)",
        "LinearBeta(0, inf)",
        "ConstantBeta()",
        "",
        "nan",
        -1,
        float("inf"),
        True,
    ],
)
def test_what_is_no_beta_is_refused_and_never_run(text):
    with pytest.raises(ValueError, match=r"^must "):
        parse_beta(text)
