"""A space of several methods: which one a trial runs is a knob, ``method``, and each has knobs of its own under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compress.method import Method
from search_spaces.domains import Categorical, Draw, Float, Int
from search_spaces.points import checked_point
from search_spaces.sections import SpaceFile
from search_spaces.space import Space, validated
from search_spaces.values import SpaceError, merge, nearest

__all__ = ["METHOD", "Several"]

METHOD = "method"
_PARTS = ("search", "fixed", "optimizer", "penalties")


@dataclass(frozen=True)
class Several(Space):
    """``views``: by method, the space that this is under it. What a block searches is asked for as ``<method>.<knob>``, what
    all methods search in common by its own name; in a point knobs have their own names.
    """

    views: Mapping[str, Space] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, origin: str, plain: Mapping[str, Any], read: tuple[Any, Mapping[str, Any]]) -> Several:
        """From plain data with the flags laid over it; ``read``: what was read, and the flags."""
        blocks = _blocks(origin, plain)
        common = {k: v for k, v in plain.items() if k not in ("methods", "points", "embedded")}
        views = {}
        for word, block in blocks.items():
            below = {part: merge(common.get(part), block[part]) for part in _PARTS if part in block}
            views[word] = Space.from_raw(name, f"{origin} ({word})", {**common, **below, METHOD: word})
        file = validated(origin, {**plain, METHOD: "+".join(blocks)})
        space = cls(name, origin, file, *read, views=views)
        search = {METHOD: space.choice, **file.search, **space._own()}
        space = replace(space, file=file.model_copy(update={"search": search}))
        points = [space._checked(number, given) for number, given in enumerate(file.points)]
        space = replace(space, file=space.file.model_copy(update={"points": points}))
        if file.embedded:
            space.embedded()
        return space

    @property
    def choice(self) -> Categorical:
        """The knob that all others hang from."""
        return Categorical(type="categorical", choices=list(self.views))

    @property
    def method(self) -> type[Method]:
        return next(iter(self.views.values())).method

    def draws(self) -> dict[str, Float | Int | Categorical]:
        every: dict[str, Float | Int | Categorical] = {METHOD: self.choice}
        for word, view in self.views.items():
            every |= {self.asked(word, name): domain for name, domain in view.draws().items()}
        return every

    def point(self, draw: Draw) -> dict[str, Any]:
        word = draw(METHOD, self.choice)
        view = self.views.get(word) or next(iter(self.views.values()))
        return {METHOD: word, **view.point(lambda name, domain: draw(self.asked(view.file.method, name), domain))}

    def config(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Without a method in the point: that of the first."""
        own = {name: value for name, value in point.items() if name != METHOD}
        view = self.views[point.get(METHOD, next(iter(self.views)))]
        return {**view.config(own), "point": dict(point)}

    def asked(self, word: str, name: str) -> str:
        """What a draw of a method's view is called here."""
        searched = self.file.methods[word].get("search") or {}
        return f"{word}.{name}" if name in searched or name.rpartition(".")[0] in searched else name

    def resolved(self) -> dict[str, Any]:
        """As it can be read again: what the blocks search stands there alone."""
        plain = super().resolved()
        own = {METHOD, *self._own()}
        return {**plain, "search": {name: domain for name, domain in plain["search"].items() if name not in own}}

    def _own(self) -> dict[str, Any]:
        """What the blocks search, by the names it is asked for."""
        return {
            f"{word}.{name}": domain.model_copy(update={"when": {**(domain.when or {}), METHOD: word}})
            for word, view in self.views.items()
            for name, domain in view.file.search.items()
            if name in (self.file.methods[word].get("search") or {})
        }

    def _checked(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        word = str(given.get(METHOD))
        if word not in self.views:
            rule = f"must be one of {', '.join(self.views)}"
            raise SpaceError(f"{self.origin}: points.{number}.method = {word!r}: {rule}")
        own = {name.removeprefix(f"{word}."): value for name, value in given.items() if name != METHOD}
        checked = checked_point(self.views[word], number, own) if own else {}
        return {METHOD: word, **{self.asked(word, name): value for name, value in checked.items()}}


def _blocks(origin: str, plain: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The section ``methods``: a mapping of sections a method."""
    blocks = plain["methods"]
    if not isinstance(blocks, Mapping):
        raise SpaceError(f"{origin}: methods = {blocks!r}: must be a mapping of a block a method")
    joined = "+".join(map(str, blocks))
    if plain.get(METHOD, joined) != joined:
        raise SpaceError(f"{origin}: method = {plain[METHOD]!r}: stands beside methods; it is one or the other")
    for word, block in blocks.items():
        if not isinstance(block, Mapping):
            raise SpaceError(f"{origin}: methods.{word} = {block!r}: must be a mapping")
        for part in block:
            if part not in _PARTS:
                raise SpaceError(f"{origin}: methods.{word}.{part}: unknown key{nearest(str(part), _PARTS)}")
    return {str(word): dict(block) for word, block in blocks.items()}


assert {METHOD, "methods"} <= set(SpaceFile.model_fields)
