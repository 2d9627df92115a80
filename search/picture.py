"""The front as a small picture of text: accuracy over size. What is drawn is one function, how it is drawn another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.text import Text

__all__ = ["Picture", "draw", "in_bytes", "picture_of"]

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # Braille: a column of four, and the next
_EDGE = 9  # columns of "100.00% ┤"

Point = tuple[float, float]
Cells = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Picture:
    """``points``: (size, accuracy), the smallest first. ``sizes`` and ``accuracies`` are the ranges drawn. The ``dense``
    network's size may lie outside, and so may the accuracies of the worst members, which then stand on the edge."""

    points: tuple[Point, ...]
    dense: Point
    sizes: tuple[float, float]
    accuracies: tuple[float, float]

    def place(self, point: Point) -> Point:
        """In [0, 1]: size on a logarithmic scale to the right, accuracy upwards."""
        (left, right), (low, high) = self.sizes, self.accuracies
        return math.log(point[0] / left) / math.log(right / left), max(0.0, (point[1] - low) / (high - low))


def in_bytes(size: float) -> str:
    """``812 B``, ``12.3 kB``, ``4.56 MB``: three digits."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return (
                f"{size:.0f} {unit}"
                if unit == "B"
                else f"{size:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f} {unit}"
            )
        size /= 1000
    return f"{size:.3g} GB"


def picture_of(members: Iterable[Mapping[str, float]], dense: Mapping[str, float]) -> Picture | None:
    """From metrics; None where no network is on the front."""
    found = sorted((float(m["size"]), float(m["accuracy"])) for m in members)
    points = tuple(p for p in found if p[0] > 0 and math.isfinite(p[0]) and math.isfinite(p[1]))
    if not points:
        return None
    reference = (float(dense["size"]), float(dense["accuracy"]))
    left, right = points[0][0], points[-1][0]
    if right < 1.1 * left:
        left, right = left / 1.1, right * 1.1
    return Picture(points, reference, (left, right), _heights([accuracy for _, accuracy in points], reference[1]))


def _heights(accuracies: Sequence[float], dense: float) -> Point:
    """The range of accuracies: a few ruined networks do not press the others into one line."""
    top = max(dense, *accuracies)
    usual = 4 * median(top - accuracy for accuracy in accuracies)
    return max(min(dense, *accuracies), top - max(0.1, usual)) - (0.01 if min(accuracies) > top - 0.01 else 0.0), top


def draw(picture: Picture, width: int, height: int) -> list[Text]:
    """``height`` lines of at most ``width`` columns: members as dots, the steps between them, the dense network's
    accuracy as a broken line."""
    columns, rows = max(1, width - _EDGE), max(1, height - 2)
    steps, members = _steps(picture, columns, rows), _members(picture, columns, rows)
    dense = round((1 - picture.place(picture.dense)[1]) * (4 * rows - 1)) // 4
    labels = {rows - 1: picture.accuracies[0], 0: picture.accuracies[1]}
    lines = []
    for row in range(rows):
        line = Text(f"{labels[row]:7.2%} ┤" if row in labels else "        │", style="dim")
        for column in range(columns):
            line.append(*_cell((column, row), steps, members, row == dense))
        line.rstrip()
        lines.append(line)
    axis = Text(" " * (_EDGE - 1) + "└" + "─" * columns, style="dim")
    lines = [*lines, axis, Text(" " * _EDGE + _sizes(picture, columns), style="dim")]
    return [line[:width] for line in lines[:height]]


def _cell(at: tuple[int, int], steps: Cells, members: Mapping[tuple[int, int], str], dense: bool) -> tuple[str, str]:
    """Character and style."""
    if at in members:
        return members[at], "bold cyan"
    if at in steps:
        return chr(0x2800 + steps[at]), "cyan"
    return ("┈", "yellow") if dense else (" ", "")


def _sizes(picture: Picture, columns: int) -> str:
    """The labels below the axis: its ends, and what it shows where there is room."""
    left, right = (in_bytes(size) for size in picture.sizes)
    space = columns - len(left) - len(right)
    if space < 1:
        return right.rjust(columns) if len(right) <= columns else ""
    return left + ("size" if space > 9 else " ").center(space) + right


def _pixels(picture: Picture, columns: int, rows: int) -> list[tuple[int, int]]:
    """Where the members lie, in Braille dots from the upper left corner: two a column, four a row."""
    places = [picture.place(point) for point in picture.points]
    return [(round(x * (2 * columns - 1)), round((1 - y) * (4 * rows - 1))) for x, y in places]


def _members(picture: Picture, columns: int, rows: int) -> dict[tuple[int, int], str]:
    """A mark by cell; an arrow for what lies below the picture."""
    marks: dict[tuple[int, int], str] = {}
    for (x, y), (_, accuracy) in zip(_pixels(picture, columns, rows), picture.points, strict=True):
        inside = accuracy >= picture.accuracies[0]
        marks[x // 2, y // 4] = "●" if inside else marks.get((x // 2, y // 4), "▾")
    return marks


def _steps(picture: Picture, columns: int, rows: int) -> Cells:
    """Braille bits by cell: the best accuracy up to each size. With more than two objectives members lie below it."""
    cells: Cells = {}

    def dot(x: int, y: int) -> None:
        cells[x // 2, y // 4] = cells.get((x // 2, y // 4), 0) | _DOTS[x % 2][y % 4]

    pixels = _pixels(picture, columns, rows)
    best = pixels[0][1]
    for (x, y), (following, _) in zip(pixels, [*pixels[1:], (2 * columns, 0)], strict=True):
        for level in range(min(y, best), best + 1):
            dot(x, level)
        best = min(y, best)
        for along in range(x, following):
            dot(along, best)
    return cells
