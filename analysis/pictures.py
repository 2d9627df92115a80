"""The figures of a report as PNG for papers, drawn with matplotlib from the same tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.comparison import grouped
from analysis.figures import Series, climb, knob_lines, series_of
from analysis.importance import Importance, importance
from analysis.labels import axis_ends, axis_title, cut, unit
from analysis.overlay import draw_groups
from analysis.records import Record

__all__ = ["draw_climb", "draw_importance", "draw_knobs", "draw_pictures"]

_GREY, _WHOLE, _SMALL = "#8b929b", "#2f7fc1", "#b5860b"


def draw_pictures(records: Sequence[Record], folder: Path) -> Iterator[Path]:
    """All of them, one after the other; which files they are."""
    lines = series_of(records)
    draw_groups(grouped(records), folder / "front.png")
    yield folder / "front.png"
    draw_climb(lines, folder / "hypervolume.png")
    yield folder / "hypervolume.png"
    for series in lines:
        if series.knobs:
            path = folder / f"knobs-{_word(series.record.name)}-{_word(series.method)}.png"
            draw_knobs(series, path)
            yield path
    for record in records:
        found = importance(record)
        if found is not None:
            path = folder / f"importance-{_word(record.name)}.png"
            draw_importance(found, path)
            yield path


def draw_climb(lines: Sequence[Series], path: Path) -> None:
    """Hypervolume over epochs spent, a line a study."""
    figure, axes = _figure(8, 4.2)
    for _, series in sorted({s.study: s for s in reversed(lines)}.items()):
        table = climb(series.record)
        axes.step(
            table["spent"],
            table["hypervolume"],
            where="post",
            color=series.colour,
            linewidth=1.5,
            label=series.record.name,
        )
    axes.set_xlabel("epochs spent, all trials together")
    axes.set_ylabel("hypervolume")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    if len({s.study for s in lines}) > 1:
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    _save(figure, path)


def draw_knobs(series: Series, path: Path) -> None:
    """A line a trial over parallel axes, those with a network on the front in colour."""
    axes_of, places = knob_lines(series)
    figure, axes = _figure(max(6.0, 1.5 * len(axes_of)), 4.2)
    across = range(len(axes_of))
    for on_front, colour, width in ((False, _GREY, 0.6), (True, series.colour, 1.3)):
        chosen = places[places["front"] == on_front].drop(columns="front")
        axes.plot(
            across, chosen.to_numpy().T, "o-", markersize=2.5, color=colour, linewidth=width, alpha=0.4 + 0.4 * on_front
        )
    axes.set_xticks(across, [f"{cut(axis_title(a.name), 22)}{' (log)' if a.log else ''}" for a in axes_of], fontsize=8)
    axes.tick_params(axis="x", rotation=20 if len(axes_of) > 4 else 0, length=0, pad=14)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.1)
    for place, axis in enumerate(axes_of):
        axes.axvline(place, color=_GREY, linewidth=0.6, zorder=0)
        for height, text in axis_ends(axis).items():
            shift = -11 if height == 0 else 5
            axes.annotate(
                cut(text, 14), (place, height), (0, shift), textcoords="offset points", ha="center", fontsize=7
            )
    axes.spines[:].set_visible(False)
    _save(figure, path)


def draw_importance(found: Importance, path: Path) -> None:
    """Two bars a knob: to reach the front, and at its small end."""
    shares = 100 * found.shares.iloc[::-1]
    figure, axes = _figure(8, 1.2 + 0.5 * len(shares))
    high = 0.8 / len(shares.columns)
    labels = {
        "front": "to reach the front",
        "small": f"to be accurate at {found.bound:,.3g} {unit(found.cost)} or less",
    }
    for place, column in enumerate(map(str, shares)):
        spots = [i - place * high for i in range(len(shares))]
        axes.barh(
            spots, shares[column], high * 0.9, color=_WHOLE if column == "front" else _SMALL, label=labels[column]
        )
    axes.set_yticks([i - high * (len(shares.columns) - 1) / 2 for i in range(len(shares))], shares.index, fontsize=9)
    axes.set_xlabel(f"importance in % ({found.trials} trials)")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), dpi=150, layout="constrained")
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path)
    pyplot.close(figure)


def _word(text: str) -> str:
    """A part of a file's name, whatever a study is called."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "study"
