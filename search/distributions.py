"""A space's domains as Optuna's distributions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.domains import Categorical, Float, Int

__all__ = ["distribution", "span"]


def distribution(domain: Float | Int | Categorical) -> BaseDistribution:
    """What Optuna keeps beside a value of this domain."""
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.choices)
    return FloatDistribution(**span(domain)) if isinstance(domain, Float) else IntDistribution(**span(domain))


def span(domain: Float | Int) -> dict[str, Any]:
    """A number's range as Optuna takes it, its upper end on the grid, which Optuna otherwise warns of."""
    span: dict[str, Any] = {"low": domain.low, "high": domain.high, "log": domain.log}
    if domain.step is not None:
        low, high, step = (Decimal(str(number)) for number in (domain.low, domain.high, domain.step))
        span |= {"step": domain.step, "high": type(domain.high)(low + (high - low) // step * step)}
    return span
