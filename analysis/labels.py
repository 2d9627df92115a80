"""What figures and pages say: numbers in few digits, knobs by name, a trial in the words of a tooltip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import Axis, Series
from analysis.plots import AXIS_NAMES

__all__ = ["axis_ends", "axis_title", "cut", "knob_text", "safe", "short", "trial_text", "unit"]

_UNITS = {"size": "kB", "gops": "GOps", "macs": "million MACs", "training_gops": "GOps"}
_LINES, _WIDE = 14, 34


def short(value: Any) -> str:
    """A knob's value in three digits, texts as they are; a dash where there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        return f"{int(number):,}" if number.is_integer() and abs(number) < 1e7 else f"{number:.3g}"
    return str(value)


def knob_text(series: Series, trial_id: str) -> list[tuple[str, str]]:
    """What a trial sets, by name."""
    row = series.trials.loc[trial_id]
    pairs = [(name, short(row[name])) for name in series.knobs]
    return [(name, value) for name, value in pairs if value != "–"]


def trial_text(series: Series, trial_id: str, point: Mapping[Any, Any] | None = None, cost: str = "size") -> str:
    """A tooltip in plotly's little HTML: the trial, one of its networks where ``point`` gives it, and the knobs."""
    knobs = [f"{safe(cut(name))} = {safe(cut(value))}" for name, value in knob_text(series, trial_id)]
    more = [f"… and {len(knobs) - _LINES} more"] if len(knobs) > _LINES else []
    epoch = f", epoch {int(point['epoch'])}" if point else ""
    head = f"<b>{safe(series.label)}</b>, trial {safe(trial_id)}{epoch}"
    return "<br>".join([head, *(_network(point, cost) if point else []), *knobs[:_LINES], *more])


def _network(point: Mapping[Any, Any], cost: str) -> list[str]:
    test = point.get("test", math.nan)
    tested = "" if math.isnan(test) else f" (test {test:.2f} %)"
    times = f", {point['times']:,.1f} times smaller" if cost == "size" and point["times"] > 0 else ""
    lines = [f"accuracy {point['accuracy']:.2f} %{tested}", f"{in_words(point['cost'], cost)}{times}"]
    chance = point.get("on_front", math.nan)
    return lines if math.isnan(chance) else [*lines, f"really on the front: {chance:.0%} by other seeds"]


def in_words(value: float, cost: str) -> str:
    """A cost with its unit, or behind its name where it has none."""
    return f"{value:,.4g} {unit(cost)}" if unit(cost) else f"{safe(cost.replace('_', ' '))} {value:,.4g}"


def axis_ends(axis: Axis) -> dict[float, str]:
    """What stands along an axis, by its place in [0, 1]: its ends, or its choices."""
    if len(axis.choices) == 1 or (not axis.choices and axis.high <= axis.low):
        return {0.5: axis.choices[0] if axis.choices else short(axis.low)}
    if axis.choices:
        return {i / (len(axis.choices) - 1): choice for i, choice in enumerate(axis.choices)}
    return {0.0: short(axis.low), 1.0: short(axis.high)}


def axis_title(name: str) -> str:
    """What an axis of this metric or knob is called."""
    return AXIS_NAMES.get(name, name)


def unit(cost: str) -> str:
    """Of the numbers on a cost's axis."""
    return _UNITS.get(cost, "")


def cut(text: str, width: int = _WIDE) -> str:
    """Too long a text without its end."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def safe(text: str) -> str:
    """For plotly, which reads a little HTML in every text."""
    return escape(str(text), quote=False)
