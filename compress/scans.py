"""In which order an index map is coded: the scans that a shape offers, and the bands of rows that are coded at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LATE", "THINNED", "Scan", "bands", "named", "scans"]

THINNED = 128  # added to the scan's number: dead rows left out
LATE = 64  # and mantissas after all else
_LARGEST = 1 << 16  # integers of a batch, but for single rows that are longer


@dataclass(frozen=True)
class Scan:
    """``phases`` divides the columns; ``width``: phases from a neighbour above to the one below it, 0 where none is near."""

    phases: int
    width: int

    def __str__(self) -> str:
        return f"{self.phases} phase{'s' * (self.phases > 1)}" + (f", {self.width} wide" if self.width else "")

    def back(self) -> list[int]:
        """How many phases ago the neighbours were: the one before, the one above, those beside it, the last but one."""
        return [1, self.width, self.width - 1, self.width + 1, 2] if self.width > 1 else [1, 2]


def scans(shape: tuple[int, ...]) -> list[Scan]:
    """The scans that a map of this shape can be stored in, in the order of the file's byte; the first is the rule.

    A phase holds 16 integers or more, so that the time of a map goes with its integers whatever its shape.
    """
    rows, columns, taps = math.prod(shape[:1]), math.prod(shape[1:]), math.prod(shape[2:])

    def fits(phases: int) -> bool:
        return columns % phases == 0 and rows * columns >= 16 * phases

    if taps > 1 and fits(taps):
        return [Scan(taps, shape[-1] if taps > shape[-1] else 0)]
    strides = [n for n in range(4, 17) if fits(n)]
    found = [Scan(min(strides, key=lambda n: (abs(n - 10), n)) if strides else 1, 0)]
    for planes in (1, 3):  # columns that are pixels
        side = math.isqrt(columns // planes)
        if side >= 8 and planes * side * side == columns and fits(columns):
            found.append(Scan(columns, side))
    for side in range(4, 8):  # columns that are small maps of features, one behind the other
        if columns > side * side and fits(side * side):
            found.append(Scan(side * side, side))
    return found


def named(number: int, shape: tuple[int, ...]) -> str:
    """The scan's byte in words."""
    return "living rows" if number >= THINNED else str(scans(shape)[number % LATE])


def bands(rows: int, groups: int, batch: int) -> Iterator[slice]:
    """Bands as large as all rows above them, the first of ``batch`` integers a phase."""
    least, most = -(-batch // groups), max(1, _LARGEST // groups)
    start = 0
    while start < rows:
        stop = min(rows, start + min(max(least, start), most))
        yield slice(start, stop)
        start = stop
