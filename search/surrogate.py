"""What the knobs lead to: a Gaussian process an objective.

Formula: y_j(x) ~ GP(m_j, s_j^2 Matern_{5/2}(x, x'; l_j) + noise), a length l a knob (Rasmussen & Williams 2006, "Gaussian Processes for Machine
Learning", eqs 2.23 and 2.24); s, l and noise are the most probable ones given log-normal priors (eq 5.5): by likelihood alone a handful of trials
makes knobs count for nothing. The objectives are independent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Surrogate"]

_AGAIN = 1.15  # lengths are learnt anew from so many times as many points; in between those known are used
_LEAST = 0.02  # what differs by less counts as equal
_JITTER = 1e-8
# Priors: medians, and standard deviations of the logarithms.
_VARIANCE, _LENGTH, _NOISE = (1.0, 1.0), (0.7, 0.7), (3e-3, 1.5)

Points = NDArray[np.float64]


class Surrogate:
    """Learns (n, d) places -> (n, m) values."""

    def __init__(self) -> None:
        self._kernels: list[Any] = []
        self._seen = 0
        self._models: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        """The lengths alone: models are fitted anew before they are asked."""
        return {**self.__dict__, "_models": [], "_places": None, "_values": None}

    def fit(self, places: Points, values: Points, seen: int) -> None:
        """From what was kept of ``seen`` points."""
        self._places, self._mean = places, values.mean(0)
        self._spread = np.maximum(values.std(0), _LEAST)
        self._values = (values - self._mean) / self._spread
        anew = seen > self._seen * _AGAIN
        self._models = [self._model(j, anew) for j in range(values.shape[1])]
        if anew:
            self._kernels, self._seen = [model.kernel_ for model in self._models], seen

    def believe(self, places: Points) -> Points:
        """Take what is expected there for known, and say what that is (kriging believer: Ginsbourger et al. 2010,
        doi 10.1007/978-3-642-10701-6_6)."""
        expected = self.predict(places)[0]
        self._places = np.vstack([self._places, places])
        self._values = np.vstack([self._values, (expected - self._mean) / self._spread])
        self._models = [self._model(j, False) for j in range(len(self._models))]
        return expected

    def predict(self, places: Points) -> tuple[Points, Points]:
        """(n, d) -> (n, m) means, and (n, m) standard deviations without the measurements' own noise."""
        found = [model.predict(places, return_std=True) for model in self._models]
        noise = np.array([model.kernel_.k2.noise_level for model in self._models])
        means, spreads = (np.column_stack(rows) for rows in zip(*found, strict=True))
        return means * self._spread + self._mean, np.sqrt(np.maximum(spreads**2 - noise, 0.0)) * self._spread

    def _model(self, column: int, anew: bool) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        kernel = self._kernels[column] if self._kernels else _kernel(self._places.shape[1])
        search = _most_probable if anew else None
        with warnings.catch_warnings():
            # Lengths at their ends are used all the same.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GaussianProcessRegressor(kernel, alpha=_JITTER, optimizer=search).fit(
                self._places, self._values[:, column]
            )


def _kernel(knobs: int) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    lengths = Matern([_LENGTH[0]] * knobs, (0.1, 5.0), nu=2.5)
    return ConstantKernel(_VARIANCE[0], (0.1, 10.0)) * lengths + WhiteKernel(_NOISE[0], (1e-4, 0.3))


def _most_probable(loss: Callable[..., Any], start: Points, bounds: Points) -> tuple[Points, float]:
    """scikit-learn's ``optimizer``: minimises the negative log posterior of the logarithms of (variance, lengths, noise)."""
    from scipy.optimize import minimize

    priors = np.array([_VARIANCE, *[_LENGTH] * (len(start) - 2), _NOISE])
    middle, spread = np.log(priors[:, 0]), priors[:, 1]

    def both(theta: Points) -> tuple[float, Points]:
        value, slope = loss(theta, eval_gradient=True)
        apart = (theta - middle) / spread
        return value + 0.5 * float(apart @ apart), slope + apart / spread

    found = minimize(both, start, method="L-BFGS-B", jac=True, bounds=bounds)
    return found.x, float(found.fun)
