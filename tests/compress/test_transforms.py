import numpy as np
import pytest

from compress.transforms import TRANSFORMS, from_frequencies


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (2, 3), (4, 4), (7,)])
def test_every_transform_is_orthonormal(name, kernel):
    matrix = TRANSFORMS[name](kernel).astype(np.float64)
    assert matrix @ matrix.T == pytest.approx(np.eye(np.prod(kernel)), abs=1e-6)


@pytest.mark.parametrize("name", ["dct", "dft"])
def test_a_flat_kernel_is_one_frequency(name):
    coefficients = TRANSFORMS[name]((3, 3)) @ np.ones(9)
    assert coefficients[0] == pytest.approx(3)
    assert np.abs(coefficients[1:]).max() < 1e-6


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_kernels_come_back(name):
    kernels = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    coefficients = (kernels.reshape(4, 3, 25) @ TRANSFORMS[name]((5, 5)).T).reshape(kernels.shape)
    assert from_frequencies(name, coefficients) == pytest.approx(kernels, abs=1e-5)


def test_the_dft_has_no_number_twice():
    """The complex DFT of 5 x 5 taps has 30 numbers; packed it has 25."""
    assert TRANSFORMS["dft"]((5, 5)).shape == (25, 25)
