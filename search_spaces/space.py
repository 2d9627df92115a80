"""Space: the typed YAML. It names a method and a task, and says what may vary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compress.method import Method
from compress.methods import method_class
from compress.optimizers import OptimizerKnobs
from search_spaces.checks import (
    check_grace,
    check_names,
    check_penalty,
    check_plain,
    in_progress,
    optimizer_knobs,
)
from search_spaces.domains import Categorical, Draw, Float, Int, Template
from search_spaces.names import Settings, place, valid_names
from search_spaces.points import checked_points
from search_spaces.sections import SpaceFile, filled
from search_spaces.values import SpaceError, merge, nearest, parse_yaml, spaces_folder
from search_spaces.wording import first_error
from tasks.task import TaskSpec

__all__ = ["Space", "available", "find_space", "validated"]


_NEVER = object()  # what a knob has that does not exist


@dataclass(frozen=True)
class Space:
    """``file`` is the validated content, ``raw`` what was read, ``changes`` the flags laid over it (dotted key to value)."""

    name: str
    origin: str
    file: SpaceFile
    raw: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, space: str | Path, changes: Mapping[str, Any] | None = None) -> Space:
        """By name (``deadzone_resnet20``) or path; SpaceError in one line for anything that cannot be searched."""
        path = find_space(str(space))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"{path}: cannot be read ({error})") from error
        return cls.from_raw(path.stem, path.name, parse_yaml(text, path.name), changes or {})

    @classmethod
    def from_raw(cls, name: str, origin: str, raw: Any, changes: Mapping[str, Any] | None = None) -> Space:
        """From plain data, as the YAML holds it."""
        if not isinstance(raw, Mapping):
            raise SpaceError(f"{origin}: a {type(raw).__name__}, expected a mapping with method, task and budget")
        changes = dict(changes or {})
        check_plain(origin, [raw, changes])
        plain = _changed(origin, raw, changes)
        if plain.get("methods"):
            from search_spaces.several import Several

            return Several.of(name, origin, plain, (raw, changes))
        space = cls(name, origin, validated(origin, plain), raw, changes)
        space._check()
        space = replace(space, file=space.file.model_copy(update={"points": checked_points(space)}))
        if space.file.embedded:
            space.embedded()
        return space

    def embedded(self) -> Space:
        """This space on its embedded data: the ``embedded`` section laid over the rest, the flags over both."""
        own = {k: v for k, v in self.changes.items() if k.partition(".")[0] == "embedded"}
        below = _changed(self.origin, self.raw, own)
        above = below.pop("embedded", {})
        if "optimizer" in below:
            below["optimizer"] = in_progress(below["optimizer"], self._yaml_epochs())
        if isinstance(below.get("fixed"), Mapping):
            below["fixed"] = self._in_progress(below["fixed"])
        raw = merge(below, above)
        changes = {k: v for k, v in self.changes.items() if k != "task.data" and k not in own}
        return Space.from_raw(self.name, f"{self.origin} (embedded)", raw, changes)

    @property
    def method(self) -> type[Method]:
        """The method's class."""
        return method_class(self.file.method)

    @property
    def task(self) -> TaskSpec:
        """The task by name."""
        section = self.file.task
        plain = section.model_dump(exclude={"network"})
        return TaskSpec(network=section.network_name, network_arguments=section.network_arguments, **plain)

    @property
    def trials(self) -> int:
        """One where nothing is searched."""
        return self.file.budget.trials if self.file.search else 1

    def draws(self) -> dict[str, Float | Int | Categorical]:
        """Everything that ``point`` may ask for, by the name it asks with."""
        every: dict[str, Float | Int | Categorical] = {}
        for name, domain in self.file.search.items():
            if isinstance(domain, Template):
                every |= {f"{name}.{hole}": inner for hole, inner in domain.holes.items()}
            else:
                every[name] = domain
        return every

    def point(self, draw: Draw) -> dict[str, Any]:
        """One configuration: ``draw(name, domain)`` is asked for each knob that exists under the values drawn before."""
        point: dict[str, Any] = {}
        for name in self._order():
            domain = self.file.search[name]
            if not self._active(name, point):
                continue
            if isinstance(domain, Template):
                point[name] = domain.fill({hole: draw(f"{name}.{hole}", inner) for hole, inner in domain.holes.items()})
            else:
                point[name] = draw(name, domain)
        return point

    def config(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's config, plain data: the fields of a recipe, and the point itself."""
        settings = self._settings().with_point(point)
        optimizer = asdict(optimizer_knobs(self.origin, settings.optimizer, self._yaml_epochs()))
        budget, resources = self.file.budget, self.file.resources
        return {
            "method": self.file.method,
            "knobs": self._in_progress(settings.knobs),
            "penalties": settings.penalties,
            "optimizer": {**optimizer, "milestones": list(optimizer["milestones"])},
            "epochs": budget.epochs,
            "images": budget.images,
            "seed": self.file.seed,
            "precision": resources.precision,
            "compile": resources.compile,
            "point": dict(point),
        }

    def resolved(self) -> dict[str, Any]:
        """The space as it is searched, every default written out, plain data."""
        return {**self.file.model_dump(exclude={"embedded"}), "optimizer": self.config({})["optimizer"]}

    def _settings(self) -> Settings:
        file = self.file
        optimizer = merge({"base": {"lr": OptimizerKnobs().base.lr}}, file.optimizer)
        return Settings({}, [dict(p) for p in file.penalties], optimizer).with_point(file.fixed)

    def _in_progress(self, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """Whole-number epochs in a method's knobs as shares of the file's own budget."""
        return self.method.in_progress(knobs, self._yaml_epochs())

    def _yaml_epochs(self) -> int:
        """The epochs of the file itself, which its whole-number milestones count in."""
        budget = self.raw.get("budget")
        epochs = budget.get("epochs") if isinstance(budget, Mapping) else None
        return epochs if isinstance(epochs, int) and epochs > 0 else self.file.budget.epochs

    def _order(self) -> list[str]:
        """Names with every knob after those its ``when`` names."""
        ordered: list[str] = []
        waiting = dict(self.file.search)
        while waiting:
            ready = [n for n, d in waiting.items() if not set(d.when or {}) & set(waiting)]
            if not ready:
                raise SpaceError(
                    f"{self.origin}: search.{next(iter(waiting))}.when: the conditions go round in a circle"
                )
            ordered += ready
            waiting = {n: d for n, d in waiting.items() if n not in ready}
        return ordered

    def _active(self, name: str, point: Mapping[str, Any]) -> bool:
        for other, wanted in (self.file.search[name].when or {}).items():
            if other in self.file.search:
                value = point.get(other, _NEVER)
            else:
                known = valid_names(self.method, self.file.penalties)
                value = self._settings().with_point(point).value(other, known.get(other))
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True

    def _check(self) -> None:
        """Every name resolves, and every end of every domain makes a method that can be built."""
        check_names(self.origin, self.file)
        file, method = self.file, self.method
        for section, names in (("search", file.search), ("fixed", file.fixed)):
            for name in names:
                if not place(name, method, file.penalties):
                    rule = f"not a knob of {file.method}, its penalties or the optimizer"
                    raise SpaceError(
                        f"{self.origin}: {section}.{name}: {rule}{nearest(name, valid_names(method, file.penalties))}"
                    )
        for name, domain in file.search.items():
            if name in file.fixed:
                raise SpaceError(f"{self.origin}: search.{name}: stands under fixed too; it is one or the other")
            for other in domain.when or {}:
                if other in file.search:
                    _check_wanted(
                        f"{self.origin}: search.{name}.when.{other}", file.search[other], (domain.when or {})[other]
                    )
                elif not place(other, method, file.penalties):
                    known = {*file.search, *valid_names(method, file.penalties)}
                    raise SpaceError(f"{self.origin}: search.{name}.when.{other}: no such knob{nearest(other, known)}")
        self._order()
        self.check_point({}, "fixed")
        for name, domain in file.search.items():
            for value in domain.probes():
                self.check_point({name: value}, "search")
        check_grace(self.origin, file, self._method_of)

    def _method_of(self, point: Mapping[str, Any]) -> Method | None:
        try:
            return filled(self.method, self._in_progress(self._settings().with_point(point).knobs))
        except (LookupError, ValidationError):
            return None

    def check_point(self, point: Mapping[str, Any], section: str) -> None:
        """SpaceError where these values make no method that can be built; ``section`` is where they stand."""
        try:
            settings = self._settings().with_point(point)
        except LookupError as error:
            raise SpaceError(f"{self.origin}: {section}.{error.args[0]}") from error
        prefix = f"{self.origin}: "
        try:
            method = filled(self.method, self._in_progress(settings.knobs))
        except ValidationError as error:
            raise SpaceError(first_error(prefix + f"{section}.", error, {(): list(self.method.knobs())})) from error
        phases, epochs = method.phases(self.file.budget.epochs), self.file.budget.epochs
        if sum(phases.values()) != epochs or min(phases.values()) < 0:
            raise SpaceError(
                f"{prefix}budget.epochs = {epochs}: {self.file.method} divides it into {dict(phases)}, which does not add up"
            )
        for number, spec in enumerate(settings.penalties):
            check_penalty(f"{prefix}penalties.{number}.", spec)
        optimizer_knobs(self.origin, settings.optimizer, self._yaml_epochs())


def _check_wanted(where: str, domain: Any, wanted: Any) -> None:
    """A condition on a categorical knob names one of its choices, or it would never hold."""
    values = wanted if isinstance(wanted, list) else [wanted]
    if isinstance(domain, Categorical) and not any(value in domain.choices for value in values):
        raise SpaceError(f"{where} = {wanted!r}: must be one of its choices, {', '.join(map(str, domain.choices))}")


def available() -> list[str]:
    """Names of the spaces that come with ratefront."""
    return sorted(p.stem for p in spaces_folder().glob("*.yaml"))


def find_space(space: str) -> Path:
    """The file of a name or a path; SpaceError with the nearest name where there is none."""
    path = Path(space) if space.endswith((".yaml", ".yml")) else spaces_folder() / f"{space}.yaml"
    if not os.path.isfile(path):
        shown = repr(space if len(space) <= 80 else space[:79] + "…")
        raise SpaceError(f"space {shown}: no such file or space{nearest(Path(space).stem, available())}")
    return path


def _changed(origin: str, raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with dotted keys set; a key that is no section names a knob, which is fixed and no longer searched."""
    result = dict(raw)
    for key, value in changes.items():
        head, *rest = key.split(".")
        for section in ("search", "fixed"):
            if not isinstance(result.get(section, {}), Mapping):
                raise SpaceError(f"{origin}: {section} = {result[section]!r}: must be a mapping")
        knob = ".".join(rest) if head == "optimizer" else key
        result["search"] = {k: v for k, v in result.get("search", {}).items() if k != knob}
        if head not in SpaceFile.model_fields:
            result["fixed"] = {**result.get("fixed", {}), key: value}
        elif head in ("fixed", "search") and rest:
            result[head] = {**result.get(head, {}), ".".join(rest): value}
        else:
            for step in reversed(rest):
                value = {step: value}
            result[head] = merge(result.get(head), value)
    return result


def validated(origin: str, raw: Mapping[str, Any]) -> SpaceFile:
    """The sections of a whole file; SpaceError in one line."""
    try:
        return SpaceFile.model_validate(raw)
    except ValidationError as error:
        raise SpaceError(first_error(f"{origin}: ", error)) from error
