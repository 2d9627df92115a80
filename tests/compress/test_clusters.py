import pytest
import torch

from compress.clusters import centroids, principal_axes


def _blobs():
    source = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    return means, (means[:, None] + 0.1 * torch.randn(4, 500, 2, generator=source)).reshape(-1, 2)


def test_k_means_finds_the_blobs():
    means, points = _blobs()
    found = centroids(points, 4, torch.Generator().manual_seed(1))
    assert float(torch.cdist(means, found).min(1).values.max()) < 0.05
    assert found.dtype == points.dtype


def test_one_seed_one_result():
    _, points = _blobs()
    one, two = (centroids(points, 7, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)


def test_more_centres_than_different_points():
    found = centroids(torch.ones(10, 3), 4, torch.Generator().manual_seed(0))
    assert torch.equal(found, torch.ones(4, 3))


def test_axes_are_orthonormal_and_the_widest_first():
    source = torch.Generator().manual_seed(0)
    points = torch.randn(1000, 3, generator=source) * torch.tensor([0.1, 3.0, 1.0]) + torch.tensor([1.0, 2.0, 3.0])
    mean, axes = principal_axes(points, 2)
    assert mean.tolist() == pytest.approx([1, 2, 3], abs=0.2)
    assert torch.allclose(axes.t() @ axes, torch.eye(2), atol=1e-5)
    assert abs(float(axes[1, 0])) > 0.99
    assert abs(float(axes[2, 1])) > 0.99


def test_wider_than_there_are_channels():
    points = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    mean, axes = principal_axes(points, 5)
    assert axes.shape == (3, 5)
    assert torch.allclose((points - mean) @ axes @ axes.t() + mean, points, atol=1e-5)
