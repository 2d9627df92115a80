"""A space's domains as Optuna's distributions."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int

__all__ = ["distribution", "every_knob", "span"]


def distribution(domain: Float | Int | Categorical) -> BaseDistribution:
    """What Optuna keeps beside a value of this domain."""
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.choices)
    return FloatDistribution(**span(domain)) if isinstance(domain, Float) else IntDistribution(**span(domain))


def every_knob(space: Space) -> dict[str, BaseDistribution]:
    """All that a space draws, conditional knobs too, but what can only have one value."""
    every = {name: distribution(domain) for name, domain in space.draws().items()}
    return {name: one for name, one in every.items() if not one.single()}


def span(domain: Float | Int) -> dict[str, Any]:
    """A number's range as Optuna takes it, its upper end on the grid, which Optuna otherwise warns of."""
    span: dict[str, Any] = {"low": domain.low, "high": domain.high, "log": domain.log}
    if domain.step is not None:
        span |= {"step": domain.step, "high": domain.nearest(domain.high)}
    return span
