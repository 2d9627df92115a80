"""The end of a study: what was reached is written at once, then tested, drawn, recorded; nothing there can lose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from analysis.plots import draw_front
from search.archive import Archive
from search.epochs import EPOCHS
from search.files import write_text
from search.front import Front

__all__ = ["Tester", "conclude", "files_of", "rewrite"]

Tester = Callable[[list[str]], list[float]]


def conclude(archive: Archive, dense: Mapping[str, float], test: Tester, say: Callable[[str], None]) -> Front:
    """Write the front, read the test data once for the dense network and every member, write it again with that.

    ``test`` takes the members' paths and returns accuracies, the dense network's first.
    """
    archive.sweep()
    front = archive.front(dense)
    _write(front, archive)
    try:
        found = test([str(archive.folder / member.artifact) for member in front])
        accuracies = dict(zip([member.artifact for member in front], found[1:], strict=True))
        front = replace(front.tested(accuracies), dense={**dense, "test_accuracy": found[0]})
        _write(front, archive)
    except (Exception, KeyboardInterrupt) as error:  # memory, a lost node, an impatient user: the front stands
        say(
            f"the front was not tested ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'stopped'})"
        )
    if len(front):
        draw_front(front, archive.folder / "front.png")
    return front


def files_of(front: Front) -> list[Path]:
    """What a study leaves for its record, the compressed networks apart."""
    names = ("front.json", "front.csv", "trials.csv", EPOCHS, "front.png", "study.yaml")
    return [path for path in (front.folder / name for name in names) if path.exists()]


def rewrite(front: Front) -> None:
    """The front's own files, after something was learnt of its members."""
    for name, text in (("front.json", front.json()), ("front.csv", front.csv())):
        write_text(front.folder / name, text)


def _write(front: Front, archive: Archive) -> None:
    rewrite(front)
    write_text(archive.folder / "trials.csv", archive.trials_csv())
