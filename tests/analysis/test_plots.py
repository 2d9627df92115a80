"""The data of the picture, and pictures that can be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.plots import costs, draw_front, draw_sweep, front_curve
from compress.metrics import Macs
from search.front import Front, Member
from search.ground import plain_dense
from search_spaces.sections import DIRECTIONS
from trainables.dense import Dense

DENSE = plain_dense(Dense({}, "trained here", 0.96, 25_000, 0.01), Macs(5_000_000, {}, 15_000_000))
ABOUT = {"network": "mlp", "data": "digits", "space": "smoke"}


def member(number, tested=True):
    share = 0.5**number
    costs = {"size": int(50_000 * share), "rate": 16 * share, "ratio": 2 / share, "mean_bits": 8 * share}
    costs |= {
        "parameters": 6250 * share,
        "macs": 5e6 * share,
        "training_gops": 0.03 * share,
        "gops": 0.01 * share,
        "bops": 1e9 * share,
        "rel_bops": share,
        "rel_bops_dense": share,
        "sent_bits_fixed": 4096 * share,
        "sent_bits_coded": 4000 * share,
        "gops_device": 0.005 * share,
    }
    metrics = {"epoch": number, "accuracy": 0.95 - 0.01 * number, "sparsity": 1 - share, **costs}
    test = 0.94 - 0.01 * number if tested else None
    return Member(
        trial_id=f"t{number}", epoch=number, metrics=metrics, config={}, artifact=f"a{number}", test_accuracy=test
    )


def front(count, tested=True, objectives=("accuracy", "rate")):
    ways = {name: DIRECTIONS[name] for name in objectives}
    return Front([member(n, tested) for n in range(count)], ways, DENSE, Path("study"), 0.5, about=ABOUT)


def test_curve_of_the_rate_shows_sizes_in_kilobytes_from_the_smallest():
    curve = front_curve(front(3))
    assert curve.name == "size"
    assert curve.cost.tolist() == [12.5, 25.0, 50.0]
    assert curve.validation.tolist() == pytest.approx([93.0, 94.0, 95.0])
    assert curve.test.tolist() == pytest.approx([92.0, 93.0, 94.0])
    assert (curve.dense_cost, curve.dense_accuracy) == (100.0, 96.0)


@pytest.mark.parametrize(
    ("objectives", "name", "cost"),
    [
        (("gops", "accuracy"), "gops", 0.01),
        (("accuracy", "macs"), "macs", 5.0),
        (("accuracy", "training_gops"), "training_gops", 0.03),
        (("accuracy", "rel_bops"), "rel_bops", 100.0),
        (("accuracy", "ratio"), "size", 50.0),
        (("accuracy", "sparsity"), "size", 50.0),
        (("accuracy", "mean_bits"), "mean_bits", 8.0),
    ],
)
def test_curve_is_over_the_objective_that_is_not_accuracy(objectives, name, cost):
    curve = front_curve(front(1, objectives=objectives))
    assert curve.name == name
    assert curve.cost.tolist() == pytest.approx([cost])


def test_members_without_a_test_accuracy_have_none_on_the_curve():
    assert np.isnan(front_curve(front(2, tested=False)).test).all()


def test_curve_of_an_empty_front_is_empty():
    curve = front_curve(front(0))
    assert curve.cost.shape == curve.validation.shape == curve.test.shape == (0,)


@pytest.mark.parametrize("tested", [True, False])
@pytest.mark.parametrize("count", [1, 2, pytest.param(14, marks=pytest.mark.slow)])
def test_pictures_open(tmp_path, count, tested):
    draw_front(front(count, tested), tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1200, 720)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


@pytest.mark.parametrize("objective", [name for name in DIRECTIONS if name != "accuracy"])
def test_every_objective_has_a_picture(tmp_path, objective):
    draw_front(front(3, objectives=("accuracy", objective)), tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_equal_costs_are_drawn(tmp_path):
    same = [member(1), member(1)]
    draw_front(Front(same, {"accuracy": "max", "rate": "min"}, DENSE, Path("study"), about=ABOUT), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_a_front_of_three_has_a_panel_a_cost_and_knows_who_is_there_for_the_other(tmp_path):
    made = front(4, objectives=("accuracy", "rate", "gops"))
    made.members[1].metrics["gops"] = 1.0  # small file, much work
    assert costs(made) == ["size", "gops"]
    assert front_curve(made, "size").best.all()
    assert front_curve(made, "gops").best.tolist() == [True, True, True, False]
    draw_front(made, tmp_path / "three.png")
    with Image.open(tmp_path / "three.png") as picture:
        assert picture.width > 1.5 * picture.height * 8 / 4.8


def test_a_sweep_over_the_channel_is_drawn(tmp_path):
    draw_sweep([4.0, 12.0, 20.0], {"16 codewords": [0.3, 0.6, 0.8], "8": [0.5, 0.7, 0.75]}, tmp_path / "sweep.png")
    with Image.open(tmp_path / "sweep.png") as picture:
        assert picture.size == (1200, 720)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
