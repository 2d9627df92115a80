"""Space: the typed YAML. It names a method and a task, and says what may vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from compress.method import KnobError, Method
from compress.methods import method_class
from compress.optimizers import OptimizerKnobs
from compress.penalties import PENALTIES, build_penalties
from search_spaces.domains import Draw, Template
from search_spaces.names import Settings, place, valid_names
from search_spaces.sections import SpaceFile
from search_spaces.values import SpaceError, merge, nearest, parse_yaml, spaces_folder
from search_spaces.wording import first_error
from tasks.datasets import check_data
from tasks.errors import TaskError
from tasks.networks import check_network
from tasks.task import TaskSpec

__all__ = ["Space", "available", "find_space"]


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
        space = cls(name, origin, _validated(origin, _changed(origin, raw, changes)), raw, changes)
        space._check()
        if space.file.embedded:
            space.embedded()
        return space

    def embedded(self) -> Space:
        """This space on its embedded data: the ``embedded`` section laid over the rest, the flags over both."""
        below = {k: v for k, v in self.raw.items() if k != "embedded"}
        raw = merge(below, self.raw.get("embedded", {}))
        changes = {k: v for k, v in self.changes.items() if k != "task.data"}
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
        optimizer = asdict(_optimizer(self.origin, settings.optimizer, self._yaml_epochs()))
        budget, resources = self.file.budget, self.file.resources
        return {
            "method": self.file.method,
            "knobs": settings.knobs,
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
        return Settings({}, [dict(p) for p in file.penalties], dict(file.optimizer)).with_point(file.fixed)

    def _yaml_epochs(self) -> int:
        """The epochs of the file itself, which its whole-number milestones count in."""
        return int(self.raw["budget"]["epochs"])

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
        known = {**self.method.knobs(), **self.file.fixed, **point}
        for other, wanted in (self.file.search[name].when or {}).items():
            absent = other in self.file.search and other not in point
            if absent or known.get(other) not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True

    def _check(self) -> None:
        """Every name resolves, and every end of every domain makes a method that can be built."""
        file, method = self.file, self.method
        _check_task(self.origin, file)
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
                if other not in file.search and not place(other, method, file.penalties):
                    raise SpaceError(
                        f"{self.origin}: search.{name}.when.{other}: no such knob{nearest(other, file.search)}"
                    )
        self._order()
        self._try({}, "fixed")
        for name, domain in file.search.items():
            for value in domain.probes():
                self._try({name: value}, "search")

    def _try(self, point: Mapping[str, Any], section: str) -> None:
        try:
            settings = self._settings().with_point(point)
        except LookupError as error:
            raise SpaceError(f"{self.origin}: {section}.{error.args[0]}") from error
        prefix = f"{self.origin}: "
        try:
            TypeAdapter(self.method).validate_python(settings.knobs)
            build_penalties(settings.penalties)
        except ValidationError as error:
            raise SpaceError(first_error(prefix + f"{section}.", error, {(): list(self.method.knobs())})) from error
        except KnobError as error:
            raise SpaceError(f"{prefix}penalties: {error}") from error
        _optimizer(self.origin, settings.optimizer, self._yaml_epochs())


def available() -> list[str]:
    """Names of the spaces that come with ratefront."""
    return sorted(p.stem for p in spaces_folder().glob("*.yaml"))


def find_space(space: str) -> Path:
    """The file of a name or a path; SpaceError with the nearest name where there is none."""
    path = Path(space) if space.endswith((".yaml", ".yml")) else spaces_folder() / f"{space}.yaml"
    if not path.is_file():
        raise SpaceError(f"space {space!r}: no such file or space{nearest(Path(space).stem, available())}")
    return path


def _changed(origin: str, raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with dotted keys set; a key that is no section names a knob, which is fixed and no longer searched."""
    result = merge({}, raw)
    for key, value in changes.items():
        head, *rest = key.split(".")
        if head not in SpaceFile.model_fields:
            result["search"] = {k: v for k, v in (result.get("search") or {}).items() if k != key}
            result["fixed"] = {**(result.get("fixed") or {}), key: value}
        elif head in ("fixed", "search") and rest:
            result[head] = {**(result.get(head) or {}), ".".join(rest): value}
        else:
            for step in reversed(rest):
                value = {step: value}
            result = merge(result, {head: value})
    return dict(result)


def _validated(origin: str, raw: Mapping[str, Any]) -> SpaceFile:
    try:
        return SpaceFile.model_validate(raw)
    except ValidationError as error:
        raise SpaceError(first_error(f"{origin}: ", error)) from error


def _check_task(origin: str, file: SpaceFile) -> None:
    try:
        check_network(file.task.network_name)
        check_data(file.task.data)
    except TaskError as error:
        raise SpaceError(f"{origin}: task.{error}") from error
    for number, spec in enumerate(file.penalties):
        if spec.get("name") not in PENALTIES:
            name = str(spec.get("name"))
            raise SpaceError(f"{origin}: penalties.{number}.name = {name!r}: no such penalty{nearest(name, PENALTIES)}")


def _optimizer(origin: str, plain: Mapping[str, Any], epochs: int) -> OptimizerKnobs:
    """The optimizer's knobs; whole-number milestones are epochs of the file's own budget."""
    scaled = dict(plain)
    if isinstance(plain.get("milestones"), (list, tuple)):
        scaled["milestones"] = [m / epochs if isinstance(m, int) and m >= 1 else m for m in plain["milestones"]]
    try:
        return TypeAdapter(OptimizerKnobs).validate_python(scaled)
    except ValidationError as error:
        raise SpaceError(first_error(f"{origin}: optimizer.", error)) from error
