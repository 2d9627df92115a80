"""What a knob may vary over: float, int, categorical, and templates of strings whose holes are domains of their own."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
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


def _check_range(domain: Any) -> Any:
    if domain.low > domain.high:
        raise ValueError(f"low must not be above high, {domain.low} > {domain.high}")
    if domain.log and domain.low <= 0:
        raise ValueError(f"a log domain needs low above 0, not {domain.low}")
    if domain.log and domain.step is not None:
        raise ValueError("log and step exclude each other")
    return domain
