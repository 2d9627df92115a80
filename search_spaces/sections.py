"""The sections of a space, typed. Extra keys are errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationInfo, field_validator

from compress.metrics import METRIC_NAMES
from search_spaces.domains import Domain, Strict
from search_spaces.limits import Constraints
from search_spaces.values import nearest, parse_duration

__all__ = ["DIRECTIONS", "Budget", "Resources", "Rungs", "SamplerName", "SpaceFile", "TaskSection", "filled"]

OWN = ("sent_bits_fixed", "sent_bits_coded", "gops_device")  # of one method: its ``objectives``
DIRECTIONS: dict[str, Literal["max", "min"]] = {
    "accuracy": "max",
    "rate": "min",
    "size": "min",
    "ratio": "max",
    "sparsity": "max",
    "mean_bits": "min",
    "parameters": "min",
    "macs": "min",
    "gops": "min",
    "training_gops": "min",
    "bops": "min",
    "rel_bops": "min",
    "rel_bops_dense": "min",
    **dict.fromkeys(OWN, "min"),
}
SamplerName = Literal["auto", "ehvi", "tpe", "nsga2", "nsga3", "gp", "qmc", "random"]
_Kind = TypeVar("_Kind")
assert set(DIRECTIONS) <= {*METRIC_NAMES, *OWN}


class TaskSection(Strict):
    """``network``: a name, ``package.module:factory``, or a mapping of ``name`` and the factory's arguments.

    ``start``: auto (published weights, else trained once), published, train, scratch, or a file; what is trained once
    takes ``start_epochs`` with AdamW, whose rate falls from ``start_lr`` as a cosine. ``shift``: training pictures are moved by
    up to so many pixels; None: as the data set has it.
    """

    network: str | dict[str, Any]
    data: str
    start: str = "auto"
    start_epochs: int = Field(default=20, ge=1)
    start_lr: float = Field(default=3e-3, gt=0)
    batch_size: int = Field(default=128, ge=1, le=10**9)
    eval_batch_size: int = Field(default=100, ge=1, le=10**9)
    image_size: int | None = Field(default=None, ge=1)
    shift: int | None = Field(default=None, ge=0)
    workers: int = Field(default=0, ge=0, le=1024)

    @field_validator("network")
    @classmethod
    def _named(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, dict) and not isinstance(value.get("name"), str):
            raise ValueError("a mapping must have the key name, a text")
        return value

    @property
    def network_name(self) -> str:
        """The network's name or address."""
        return self.network if isinstance(self.network, str) else str(self.network["name"])

    @property
    def network_arguments(self) -> dict[str, Any]:
        """Keyword arguments of its factory."""
        return {} if isinstance(self.network, str) else {k: v for k, v in self.network.items() if k != "name"}


def _seconds(value: Any) -> Any:
    return None if value is None else parse_duration(value)


class Rungs(Strict):
    """Epochs grace, grace x factor, grace x factor^2, ...: where a trial may be stopped (Li et al., ASHA, arXiv 1810.05934).

    One in ``factor`` goes on. ``protect``: of the networks on a rung's front ``all`` do, or only as many, spread as a ``net``. ``by``:
    they are ranked by where they are ``heading``, as trials that went further foretell, or as they are ``now``.
    """

    grace: int = Field(ge=1)
    factor: int = Field(default=3, ge=2)
    protect: Literal["all", "net"] = "net"
    by: Literal["heading", "now"] = "heading"


class Budget(Strict):
    """``epochs`` is everything a trial may spend; ``images`` an epoch, all where absent.

    ``patience``: the search ends when so many trials together raised the hypervolume by less than a hundredth.
    """

    trials: int = Field(default=16, ge=1)
    epochs: int = Field(ge=1)
    images: int | None = Field(default=None, ge=1)
    rungs: Rungs | None = None
    patience: int | None = Field(default=None, ge=1)
    wall_time: Annotated[float | None, BeforeValidator(_seconds)] = None

    @field_validator("rungs")
    @classmethod
    def _before_the_end(cls, value: Rungs | None, info: ValidationInfo) -> Rungs | None:
        epochs = info.data.get("epochs")
        if value and epochs and value.grace >= epochs:
            raise ValueError(f"grace {value.grace} must be less than the {epochs} epochs of a trial")
        return value


class Resources(Strict):
    """Of one trial; fractions of a CPU or GPU share it. ``gpu`` None: one where there are GPUs and the device wants it."""

    cpu: float = Field(default=1.0, gt=0, le=1024)
    gpu: float | None = Field(default=None, ge=0, le=1024)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    concurrent: int | None = Field(default=None, ge=1)


class SpaceFile(Strict):
    """A whole file. No ``search``: one trial. ``methods`` in place of ``method``: a block a method (``several``).

    ``points`` are tried first, in order: searched knobs and their values; the sampler draws what a point leaves out.
    ``keep``: which networks' files outlive the search, those on the ``front``, on each of the ``trials``' own, or ``all``.
    """

    method: str
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    task: TaskSection
    objectives: dict[str, Literal["max", "min"]] = Field(default={"accuracy": "max", "rate": "min"})
    constraints: Constraints = Field(default_factory=Constraints)
    budget: Budget
    resources: Resources = Field(default_factory=Resources)
    search: dict[str, Domain] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)
    penalties: list[dict[str, Any]] = Field(default_factory=list)
    optimizer: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, lt=2**32)
    sampler: SamplerName = "auto"
    keep: Literal["front", "trials", "all"] = "front"
    points: list[dict[str, Any]] = Field(default_factory=list)
    embedded: dict[str, Any] = Field(default_factory=dict)

    @field_validator("embedded")
    @classmethod
    def _flat(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "embedded" in value:
            raise ValueError("the embedded form has none of its own")
        return value

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        if not 2 <= len(value) <= 3:
            raise ValueError(f"2 or 3 objectives, not {len(value)}")
        for name, direction in value.items():
            if name not in DIRECTIONS:
                raise ValueError(f"{name!r} is not a reported metric{nearest(name, DIRECTIONS)}")
            if direction != DIRECTIONS[name]:
                raise ValueError(
                    f"{name} is better when {'larger' if DIRECTIONS[name] == 'max' else 'smaller'}: {DIRECTIONS[name]}"
                )
        return value


def filled(kind: type[_Kind], plain: Mapping[str, Any]) -> _Kind:
    """A dataclass of ours from plain data, as strict as the sections are; pydantic's ValidationError otherwise."""
    word: Any = kind
    result: _Kind = _adapter(word).validate_json(json.dumps(plain))
    return result


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    optional: Any = kind | None  # a bare dataclass would not take the config
    return TypeAdapter(optional, config=Strict.model_config)
