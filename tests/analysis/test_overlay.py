"""Several fronts in one picture: what is drawn, by what matplotlib was told."""

from __future__ import annotations

import pytest
from matplotlib import pyplot

from analysis.comparison import grouped
from analysis.overlay import draw_groups
from analysis.studies import BadStudy
from tests.analysis.filled import front_of, full_record

FRONT = front_of((0.94, 9000), (0.80, 7000))


def records(**changes):
    return [full_record("a", front=FRONT), full_record("b", methods=("uniform",), front=FRONT, **changes)]


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The figure, instead of nothing, after it was drawn."""
    kept = []
    monkeypatch.setattr(pyplot, "close", kept.append)

    def call(groups):
        draw_groups(groups, tmp_path / "fronts.png")
        monkeypatch.undo()
        pyplot.close(kept[0])
        return kept[0]

    return call


def test_every_study_of_a_group_with_its_points_and_one_dense_line(drawn):
    (axes,) = drawn(grouped(records())).axes
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["deadzone", "uniform", "dense mlp: 95.0 %, 80"]
    points = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert points == [[[7.0, 80.0], [9.0, 94.0]]] * 2
    assert axes.get_xscale() == "log"


def test_a_row_a_group_and_a_column_a_cost(drawn, tmp_path):
    three = {"accuracy": "max", "rate": "min", "gops": "min"}
    figure = drawn(grouped(records(objectives=three)))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert (len(figure.axes), len(visible)) == (4, 3)
    assert (tmp_path / "fronts.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written(tmp_path):
    open_before = pyplot.get_fignums()
    with pytest.raises(BadStudy, match=r"png = .*: cannot be written"):
        draw_groups(grouped(records()), tmp_path / "gone" / "x.png")
    assert pyplot.get_fignums() == open_before


def test_fronts_without_networks_are_an_empty_picture(tmp_path):
    draw_groups(grouped([full_record("none", front=front_of((0.9, 1000)).head(0))]), tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000
