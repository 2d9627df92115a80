"""Fronts of several studies in one picture: a row a group of comparable studies, a column a cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.comparison import SHOWN, Group
from analysis.figures import members, series_of
from analysis.plots import AXIS_NAMES, FACTORS, ticks
from analysis.studies import BadStudy

__all__ = ["draw_groups"]

_GREY = "#6b6b6b"


def draw_groups(groups: Sequence[Group], path: Path) -> None:
    """As a PNG; BadStudy where the file cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wide = max(len(group.costs) for group in groups)
    size = (8 if wide == 1 else 6 * wide, 4.8 * len(groups))
    figure, panels = pyplot.subplots(len(groups), wide, figsize=size, dpi=150, layout="constrained", squeeze=False)
    for row, group in zip(panels, groups, strict=True):
        row[0].set_title(group.title, loc="left", fontsize=10)
        for axes, cost in zip(row, group.costs, strict=False):
            _draw(axes, group, cost)
        for axes in row[len(group.costs) :]:
            axes.set_visible(False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:  # a folder that is not there, an ending that is no picture's
        raise BadStudy(f"png = {str(path)!r}: cannot be written ({str(error).splitlines()[0]})") from error
    finally:
        pyplot.close(figure)


def _draw(axes: Any, group: Group, cost: str) -> None:
    """Each method's members of its study's front, and the line of those that are best in accuracy and this cost alone."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for series in series_of(group.records):
        table = members(series, cost)
        best = table[table["best"]]
        axes.step(best["cost"], best["accuracy"], where="post", color=series.colour, linewidth=1, alpha=0.6)
        axes.plot(
            table["cost"], table["accuracy"], series.marker, color=series.colour, markersize=5, label=series.label
        )
    drawn = set()
    for record in group.records:
        accuracy, value = 100 * record.dense["accuracy"], record.dense.get(cost, 0.0) * FACTORS.get(cost, 1.0)
        if (record.network, accuracy) not in drawn:
            label = f"dense {record.network}: {accuracy:.1f} %, {value:,.4g}"
            axes.axhline(accuracy, color=_GREY, linewidth=1, linestyle="--", label=label)
        drawn.add((record.network, accuracy))
    floor = 100 * (min(record.dense["accuracy"] for record in group.records) - SHOWN)
    if axes.dataLim.ymin < floor < axes.dataLim.ymax:
        axes.set_ylim(bottom=floor)
    if group.networks[cost].gt(0).any():  # else there is nothing to spread
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(ticks(*axes.get_xlim())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.set_xlabel(AXIS_NAMES.get(cost, cost.replace("_", " ")) + " (log scale)")
    axes.set_ylabel("accuracy in %, validation")
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
