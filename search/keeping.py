"""Which files of a study outlive the search: the front's, and what ``keep`` asks for beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from search.folder import ARTIFACTS
from search.front import Member

__all__ = ["KEEP", "Keep", "Keeping"]

Keep = Literal["front", "trials", "all"]
KEEP: tuple[Keep, ...] = get_args(Keep)
Fittest = Callable[[list[Member]], list[Member]]


class Keeping:
    """``front``: nothing else. ``trials``: also what each trial's own front holds. ``all``: every network's file.

    ``fittest`` gives the non-dominated of some members.
    """

    def __init__(self, folder: Path, keep: Keep, fittest: Fittest) -> None:
        self.folder, self.keep, self.fittest = folder, keep, fittest
        self._own: dict[str, list[Member]] = {}
        self._sparing = False

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Nothing is removed in this block."""
        self._sparing = True
        try:
            yield
        finally:
            self._sparing = False

    def settle(self, offered: Member, front: Iterable[Member], dropped: Iterable[Member]) -> None:
        """After ``offered`` was judged: remove the files of those that nothing wants any more."""
        losers = list(dropped)
        if self.keep == "trials":
            own = [m for m in self._own.get(offered.trial_id, []) if m.artifact != offered.artifact] + [offered]
            self._own[offered.trial_id] = self.fittest(own)
            losers += own
        wanted = self._wanted(front)
        for loser in losers:
            if self.keep != "all" and not self._sparing and loser.artifact not in wanted:
                (self.folder / loser.artifact).unlink(missing_ok=True)

    def sweep(self, front: Iterable[Member]) -> None:
        """Remove what belongs to nobody: files of trials cut off between writing and reporting."""
        wanted = self._wanted(front)
        for path in (self.folder / ARTIFACTS).iterdir():
            spared = self.keep == "all" and path.suffix == ".rf"
            if f"{ARTIFACTS}/{path.name}" not in wanted and not spared:
                path.unlink(missing_ok=True)

    def _wanted(self, front: Iterable[Member]) -> set[str]:
        own = [m for members in self._own.values() for m in members]
        return {m.artifact for m in [*front, *own]}
