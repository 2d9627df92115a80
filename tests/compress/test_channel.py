import math

import pytest
import torch

from compress.channel import MODULATIONS, Link, _counted_errors, constellation, ring, settled_noise

RATES = {  # shared/methods/codebook.md: by M, at 4, 8, 10, 12, 16 and 20 dB
    16: (0.660, 0.487, 0.382, 0.272, 0.082, 0.006),
    8: (0.388, 0.175, 0.088, 0.031, 0.0007, 0.0),
    4: (0.110, 0.012, 0.0016, 0.0001, 0.0, 0.0),
}
PSNRS = (4, 8, 10, 12, 16, 20)


@pytest.mark.parametrize("count", RATES)
@pytest.mark.parametrize("psnr", PSNRS)
def test_psk_errs_as_often_as_the_page_says(count, psnr):
    expected, drawn = RATES[count][PSNRS.index(psnr)], 200_000
    both = math.sqrt(
        2 * max(expected, 1e-4) * (1 - expected) / drawn
    )  # two Monte Carlo counts, and the table's rounding
    digit = 0.0006 if expected > 0.002 else 0.0001
    assert Link("psk", psnr).error_rate(count, drawn) == pytest.approx(expected, abs=4 * both + digit)


@pytest.mark.parametrize("psnr", [4, 10, 16])
def test_square_qam_errs_as_theory_says(psnr):
    """16 points: 1 - (1 - 2 (1 - 1/4) Q(d / 2σ))², the outermost of power 1."""
    link = Link("qam", psnr)
    half = 1 / (3 * math.sqrt(2))
    tail = 0.5 * math.erfc(half / link.deviation / math.sqrt(2))
    assert link.error_rate(16) == pytest.approx(1 - (1 - 1.5 * tail) ** 2, abs=0.005)


@pytest.mark.parametrize("modulation", ["psk", "qam"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 13, 16])
def test_points_are_distinct_of_power_1_at_most_and_arrive_without_noise(modulation, count):
    points = constellation(modulation, count)
    assert points.shape == (count, 2)
    assert float(points.square().sum(1).max()) == pytest.approx(1)
    assert float((torch.cdist(points, points) + 9 * torch.eye(count)).min()) > 0.2
    sent = torch.arange(count).repeat(3)
    assert torch.equal(Link(modulation, 20).deliver(sent, count, torch.zeros(len(sent), 2)), sent)


def test_only_neighbours_are_mistaken_at_20_db():
    sent = torch.arange(16).repeat(20_000)
    noise = torch.randn(len(sent), 2, generator=torch.Generator().manual_seed(0))
    off = (Link("psk", 20).deliver(sent, 16, noise) - sent) % 16
    assert set(off.unique().tolist()) == {0, 1, 15}


def test_the_nearest_point_is_what_arrives():
    points = constellation("psk", 7)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sent = torch.arange(500) % 7
    received = points[sent] + Link("psk", 5).deviation * noise
    assert torch.equal(Link("psk", 5).deliver(sent, 7, noise), torch.cdist(received, points).argmin(1))


def test_one_point_and_no_channel_never_err():
    sent = torch.zeros(5, dtype=torch.long)
    assert torch.equal(Link("psk", -30).deliver(sent, 1, torch.ones(5, 2)), sent)
    assert Link("none", -30).error_rate(16, 1000) == 0
    assert MODULATIONS["none"] is None


def test_settled_noise_is_normal_and_a_pictures_own():
    sent = torch.randint(16, (2000, 64), generator=torch.Generator().manual_seed(0))
    noise = settled_noise(sent)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.1)
    for one, other in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., :1], noise[..., 1:])):
        assert float((one * other).mean()) == pytest.approx(0, abs=0.02)
    assert torch.equal(settled_noise(sent[70:90]), noise[70:90])
    assert not torch.equal(settled_noise(sent, seed=1), noise)
    other = sent.clone()
    other[0, 5] = (other[0, 5] + 1) % 16
    assert (settled_noise(other)[0] != noise[0]).all()
    assert torch.equal(settled_noise(other)[1:], noise[1:])


def test_points_on_a_circle_are_put_in_order():
    angles = torch.tensor([0.3, 5.0, 1.2, 4.1, 2.6, 3.3, 0.9, 6.0])
    order = ring(torch.stack([angles.cos(), angles.sin()], 1))
    turned = [float(angles[n]) for n in order]
    start = turned.index(min(turned))
    turned = turned[start:] + turned[:start]
    assert turned in (sorted(turned), [turned[0], *sorted(turned[1:], reverse=True)])


def test_a_ring_is_no_longer_than_what_it_started_from():
    points = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))

    def length(order):
        return float((points[order] - points[order[1:] + order[:1]]).norm(dim=1).sum())

    start = list(range(20))
    found = ring(points, start)
    assert sorted(found) == start
    assert length(found) < 0.9 * length(start)
    assert ring(points, found) == found
    assert ring(torch.zeros(3, 2)) == [0, 1, 2]


def test_a_thousand_codewords_are_put_in_a_ring_and_errors_are_counted_once():
    points = torch.randn(1024, 4, generator=torch.Generator().manual_seed(0))

    def length(order):
        return float((points[order] - points[order[1:] + order[:1]]).norm(dim=1).sum())

    found = ring(points)
    assert sorted(found) == list(range(1024))
    assert length(found) < 0.3 * length(list(range(1024)))
    before = _counted_errors.cache_info().hits
    assert Link("qam", 11.0).error_rate(64) == Link("qam", 11.0).error_rate(64)
    assert _counted_errors.cache_info().hits == before + 1


def test_a_ring_is_left_after_so_many_rounds(monkeypatch):
    monkeypatch.setattr("compress.channel._SWEEPS", 1)
    points = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    once = ring(points)
    assert sorted(once) == list(range(64))
    assert ring(points, once) != once
