from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.picture import draw, in_bytes, picture_of

DENSE = {"size": 40_000, "accuracy": 0.95}


def network(size, accuracy):
    return {"size": size, "accuracy": accuracy}


def dots(lines):
    """Where members are drawn: (line, column)."""
    return [(y, x) for y, line in enumerate(lines) for x, c in enumerate(line.plain) if c in "●▾"]


def test_points_go_from_the_smallest_to_the_largest():
    picture = picture_of([network(8000, 0.94), network(1000, 0.9), network(4000, 0.92)], DENSE)
    assert picture.points == ((1000, 0.9), (4000, 0.92), (8000, 0.94))
    assert picture.dense == (40_000, 0.95)
    assert picture.sizes == (1000, 8000)


def test_the_dense_accuracy_is_inside_and_its_size_may_not_be():
    picture = picture_of([network(1000, 0.9), network(2000, 0.94)], DENSE)
    assert picture.accuracies[1] == 0.95
    assert picture.sizes[1] < 40_000
    assert picture_of([network(1000, 0.97), network(900, 0.96)], DENSE).accuracies == pytest.approx((0.95, 0.97))


def test_sizes_are_on_a_logarithmic_scale():
    picture = picture_of([network(1000, 0.9), network(4000, 0.92), network(16_000, 0.94)], DENSE)
    assert picture.place((4000, 0.92))[0] == pytest.approx(0.5)
    assert picture.place((1000, picture.accuracies[0])) == pytest.approx((0, 0))
    assert picture.place((16_000, 0.95)) == pytest.approx((1, 1))


def test_ruined_networks_do_not_press_the_others_together():
    picture = picture_of([network(100, 0.2), *(network(1000 + n, 0.9 + n / 100) for n in range(5))], DENSE)
    assert picture.accuracies[0] >= 0.75
    assert picture.place((100, 0.2))[1] == 0.0
    assert "▾" in draw(picture, 60, 9)[6].plain


@pytest.mark.parametrize("members", [[], [network(1000, math.nan)], [network(0, 0.5)], [network(math.nan, 0.5)]])
def test_no_picture_without_networks(members):
    assert picture_of(members, DENSE) is None


def test_the_drawing_has_a_dot_a_member_steps_between_and_the_dense_line():
    picture = picture_of([network(1000, 0.85), network(4000, 0.9), network(16_000, 0.94)], DENSE)
    lines = draw(picture, 60, 10)
    assert len(lines) == 10
    found = dots(lines)
    assert len(found) == 3
    assert sorted(found, key=lambda at: at[1]) == sorted(found, reverse=True)  # larger is more accurate, so higher
    assert lines[0].plain.startswith(" 95.00% ┤┈┈┈┈")
    assert lines[7].plain.startswith(" 85.00% ┤●")
    assert any("⠀" < c <= "⣿" for line in lines for c in line.plain)
    assert lines[9].plain.split() == ["1.00", "kB", "size", "16.0", "kB"]


def test_a_member_that_others_beat_on_accuracy_lies_below_the_steps():
    """With a third objective the front has such members; the steps never fall."""
    lines = draw(picture_of([network(1000, 0.9), network(4000, 0.85), network(16_000, 0.94)], DENSE), 60, 12)
    (low,) = [(y, x) for y, x in dots(lines) if x not in (9, 59)]
    assert any(lines[y].plain.ljust(60)[low[1]] not in " ┈" for y in range(low[0]))


@given(
    st.lists(st.tuples(st.integers(1, 10**10), st.floats(0, 1)), min_size=1, max_size=30),
    st.floats(0, 1),
    st.integers(1, 200),
    st.integers(1, 40),
)
def test_any_front_fits_any_place(members, dense, width, height):
    picture = picture_of([network(*m) for m in members], {"size": 40_000, "accuracy": dense})
    lines = draw(picture, width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    if width >= 20 and height >= 5:
        assert 1 <= len(dots(lines)) <= len(set(members))
    assert all(0 <= part <= 1 + 1e-9 for point in picture.points for part in picture.place(point))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (75_256, "75.3 kB"),
        (269_722, "270 kB"),
        (999_600, "1.00 MB"),
        (86_000_000, "86.0 MB"),
        (3.2e9, "3.2 GB"),
    ],
)
def test_bytes_have_three_digits(size, text):
    assert in_bytes(size) == text
