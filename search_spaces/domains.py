"""What a knob may vary over: float, int, categorical, and templates of strings whose holes are domains of their own."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

__all__ = ["Categorical", "Domain", "Draw", "Float", "Int", "Scalar", "Strict", "Template"]

Scalar = bool | int | float | str | None


class Strict(BaseModel):
    """Every section of a space: unknown keys are errors, values are what they say, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Float(Strict):
    """A number in [low, high]; ``log`` draws its logarithm, ``step`` draws from a grid, not both."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)
    when: dict[str, Scalar | list[Scalar]] | None = None

    @model_validator(mode="after")
    def _range(self) -> Float:
        return _check_range(self)

    def probes(self) -> list[Any]:
        """The values at which the domain's ends are tried."""
        return [self.low, self.high]

    def share(self, value: float) -> float:
        """Where a value lies in the range, from 0 to 1, of its logarithm with ``log``; 0 where the range is one point."""
        return _share(self, value)

    def at(self, share: float) -> float:
        """The value there, the nearest that the domain has."""
        return self.nearest(_at(self, share))

    def nearest(self, value: float) -> float:
        """The nearest value that the domain has."""
        return float(_nearest(self, value))


class Int(Strict):
    """A whole number in [low, high], likewise."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int | None = Field(default=None, gt=0)
    when: dict[str, Scalar | list[Scalar]] | None = None

    @model_validator(mode="after")
    def _range(self) -> Int:
        return _check_range(self)

    def probes(self) -> list[Any]:
        """The values at which the domain's ends are tried."""
        return [self.low, self.high]

    def share(self, value: float) -> float:
        """Where a value lies in the range, from 0 to 1, of its logarithm with ``log``; 0 where the range is one point."""
        return _share(self, value)

    def at(self, share: float) -> int:
        """The value there, the nearest that the domain has."""
        return self.nearest(_at(self, share))

    def nearest(self, value: float) -> int:
        """The nearest value that the domain has."""
        return round(_nearest(self, value))


class Categorical(Strict):
    """One of ``choices``."""

    type: Literal["categorical"]
    choices: list[Scalar] = Field(min_length=1)
    when: dict[str, Scalar | list[Scalar]] | None = None

    def probes(self) -> list[Any]:
        """Every choice."""
        return list(self.choices)


class Template(Strict):
    """A string such as ``LinearBeta({b0}, {b1})``; ``holes`` gives each name in braces its domain."""

    template: str
    holes: dict[str, Annotated[Float | Int | Categorical, Field(discriminator="type")]]
    when: dict[str, Scalar | list[Scalar]] | None = None

    @model_validator(mode="after")
    def _holes(self) -> Template:
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise ValueError(f"template is malformed ({error})") from error
        if names != set(self.holes) or not names or not all(n.isidentifier() for n in names):
            raise ValueError(
                f"template names the holes {sorted(names)}, holes gives {sorted(self.holes)}; they must be the same"
            )
        try:
            self.probes()
        except (LookupError, ValueError) as error:
            raise ValueError(f"template does not fit its holes ({error})") from error
        return self

    def fill(self, values: Mapping[str, Any]) -> str:
        """The string with its holes filled."""
        return self.template.format(**values)

    def probes(self) -> list[Any]:
        """All holes at their first value, all at their last."""
        ends = {name: domain.probes() for name, domain in self.holes.items()}
        return [self.fill({n: p[i] for n, p in ends.items()}) for i in (0, -1)]


def _kind(value: Any) -> str:
    if isinstance(value, Template) or (isinstance(value, dict) and "template" in value):
        return "template"
    return str(value.get("type") if isinstance(value, dict) else getattr(value, "type", None))


Domain = Annotated[
    Annotated[Float, Tag("float")]
    | Annotated[Int, Tag("int")]
    | Annotated[Categorical, Tag("categorical")]
    | Annotated[Template, Tag("template")],
    Discriminator(
        _kind, custom_error_type="domain", custom_error_message="needs type: float, int or categorical, or a template"
    ),
]
Draw = Callable[[str, "Float | Int | Categorical"], Any]


def _share(domain: Float | Int, value: float) -> float:
    low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, value))
    return (at - low) / ((high - low) or 1.0)


def _at(domain: Float | Int, share: float) -> float:
    low, high = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high))
    value = low + min(max(share, 0.0), 1.0) * (high - low)
    return math.exp(value) if domain.log else value


def _nearest(domain: Float | Int, value: float) -> float:
    near = min(max(value, domain.low), domain.high)
    if domain.step is None:
        return near
    low, high, step = (Decimal(str(number)) for number in (domain.low, domain.high, domain.step))
    steps = min(round((Decimal(str(near)) - low) / step), int((high - low) // step))
    return float(low + steps * step)


def _check_range(domain: Any) -> Any:
    if domain.low > domain.high:
        raise ValueError(f"low must not be above high, {domain.low} > {domain.high}")
    if domain.log and domain.low <= 0:
        raise ValueError(f"a log domain needs low above 0, not {domain.low}")
    if domain.log and domain.step is not None:
        raise ValueError("log and step exclude each other")
    return domain
