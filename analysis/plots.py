"""Pictures of fronts. Each is a function that makes the data and one that draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AXIS_NAMES", "FACTORS", "FrontCurve", "FrontLike", "costs", "draw_front", "front_curve", "ticks"]

AXIS_NAMES = {
    "rate": "bits a weight",
    "size": "size in kB",
    "macs": "million MACs an image",
    "gops": "GOps an image",
    "training_gops": "GOps of training an image",
    "rel_bops": "relative BOPs in %",
    "rel_bops_dense": "relative BOPs (zeros counted) in %",
    "sent_bits_fixed": "bits sent a picture, at fixed length",
    "sent_bits_coded": "bits sent a picture, entropy-coded (link without errors)",
    "gops_device": "GOps of the device an image",
}
FACTORS = {"size": 1e-3, "macs": 1e-6, "rel_bops": 100.0, "rel_bops_dense": 100.0}
_SHOWN = 25.0  # points
_PANELS = 3
_BLUE, _ORANGE, _GREY = "#1f6fb2", "#d9822b", "#6b6b6b"


class Aimed(Protocol):
    """Whatever has objectives: a front, a study, the record of one."""

    @property
    def objectives(self) -> Mapping[str, str]: ...


class FrontLike(Aimed, Protocol):
    """What a picture needs of a front: members with ``metrics`` and ``test_accuracy``, and what they are against."""

    @property
    def members(self) -> Sequence[Any]: ...

    @property
    def dense(self) -> Mapping[str, float]: ...

    @property
    def about(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class FrontCurve:
    """``cost``: an objective that is not accuracy, as named; accuracies in percent; rows in order of cost.

    ``best``: what is on the front of accuracy and this cost alone.
    """

    name: str
    cost: NDArray[np.float64]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    dense_cost: float
    dense_accuracy: float

    @property
    def best(self) -> NDArray[np.bool_]:
        higher = np.maximum.accumulate(np.concatenate([[-np.inf], self.validation[:-1]]))
        return np.asarray(self.validation > higher, dtype=bool)

    def times_smaller(self, cost: NDArray[np.float64]) -> NDArray[np.float64]:
        """Dense cost / cost, and its own inverse; matplotlib tries 0 as well."""
        with np.errstate(divide="ignore"):
            return np.divide(self.dense_cost, cost)


def costs(front: Aimed) -> list[str]:
    """The objectives that are not accuracy; the size for rate, ratio and sparsity."""
    named = ["size" if n in ("rate", "ratio", "sparsity") else n for n in front.objectives if n != "accuracy"]
    return list(dict.fromkeys(named)) or ["size"]


def front_curve(front: FrontLike, name: str | None = None) -> FrontCurve:
    """Accuracy over one of the costs, the first where none is named; sizes in kB."""
    name = name or costs(front)[0]
    factor = FACTORS.get(name, 1.0)
    rows = sorted(front.members, key=lambda m: float(m.metrics[name]))
    values = np.array(
        [[m.metrics[name] * factor, 100 * m.metrics["accuracy"], 100 * _or_nan(m.test_accuracy)] for m in rows]
    ).reshape(-1, 3)
    dense = front.dense
    cost, validation, test = values.T
    return FrontCurve(name, cost, validation, test, dense[name] * factor, 100 * dense["accuracy"])


def draw_front(front: FrontLike, path: Path) -> None:
    """The front as a PNG: a panel a cost, and in each the line of what is best in accuracy and that cost alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves, about = [front_curve(front, name) for name in costs(front)[:_PANELS]], front.about
    width = 8 if len(curves) == 1 else 6.4 * len(curves)
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(width, 4.8), dpi=150, layout="constrained", sharey=True, squeeze=False
    )
    for axes, curve in zip(panels[0], curves, strict=True):
        _draw_panel(axes, curve)
        axes.label_outer()
    panels[0][0].set_title(
        f"{about.get('network', '')} on {about.get('data', '')}, {about.get('space', '')}", loc="left", fontsize=11
    )
    figure.savefig(path)
    pyplot.close(figure)


def _draw_panel(axes: Any, curve: FrontCurve) -> None:
    best, others = curve.best, ~curve.best
    axes.step(curve.cost[best], curve.validation[best], where="post", color=_BLUE, linewidth=1, alpha=0.5)
    axes.plot(
        curve.cost[best], curve.validation[best], "o", color=_BLUE, markersize=6, label="validation, which picked them"
    )
    if others.any():
        label = "on the front for another cost"
        axes.plot(curve.cost[others], curve.validation[others], "o", color=_BLUE, alpha=0.3, markersize=5, label=label)
    if not np.isnan(curve.test).all():
        axes.plot(curve.cost, curve.test, "D", color=_ORANGE, markersize=4, markerfacecolor="none", label="test")
    dense = f"dense: {curve.dense_accuracy:.1f} %, {curve.dense_cost:,.4g} {_unit(curve.name)}"
    axes.axhline(curve.dense_accuracy, color=_GREY, linewidth=1, linestyle="--", label=dense)
    _scales(axes, curve)
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)


def draw_sweep(psnrs: Sequence[float], curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Accuracy over the PSNR that networks are tested at, a line a network, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.8), dpi=150, layout="constrained")
    for name, accuracies in curves.items():
        axes.plot(psnrs, [100 * a for a in accuracies], "o-", markersize=4, linewidth=1, label=name)
    axes.set_xlabel("PSNR of the channel in dB, tested")
    axes.set_ylabel("accuracy in %")
    axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path)
    pyplot.close(figure)


def _scales(axes: Any, curve: FrontCurve) -> None:
    """A logarithmic cost, with times smaller above; accuracies down to ``_SHOWN`` points under the dense network's."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.08)
    low, high = axes.get_xlim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high)))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(AXIS_NAMES.get(curve.name, curve.name.replace("_", " ")) + " (log scale)")
    axes.set_ylabel("accuracy in %")
    floor = curve.dense_accuracy - _SHOWN
    hidden = int((curve.validation < floor).sum())
    if hidden and hidden < len(curve.validation):
        axes.set_ylim(bottom=floor)
        axes.annotate(
            f"{hidden} below {floor:.0f} % not shown", (0.01, 0.02), xycoords="axes fraction", color=_GREY, fontsize=8
        )
    if curve.name == "size":
        above = axes.secondary_xaxis("top", functions=(curve.times_smaller, curve.times_smaller))
        above.xaxis.set_major_locator(FixedLocator(ticks(curve.dense_cost / high, curve.dense_cost / low)))
        above.xaxis.set_minor_locator(NullLocator())
        above.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        above.set_xlabel("times smaller than float32", fontsize=9)
        above.spines["top"].set_visible(False)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high]: evenly spaced where the span is short, else spread over the decades."""
    from matplotlib.ticker import MaxNLocator

    if high / low < 4:
        return [float(t) for t in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 1.5, 2, 3, 4, 5, 7) if high / low < 10 else (1, 2, 5)
    found = [d * 10.0**k for k in decades for d in digits if low <= d * 10.0**k <= high]
    return found[:: max(1, len(found) // 8)]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _unit(name: str) -> str:
    return {
        "size": "kB",
        "macs": "M",
        "gops": "GOps",
        "training_gops": "GOps",
        "rel_bops": "%",
        "rel_bops_dense": "%",
    }.get(name, "")
