"""The figures of a report's page, drawn with plotly. Colours of text and grid are the page's own, light and dark.

Traces carry ``meta.series`` (what hides them) and points ``customdata`` (whose trial a click shows). Whatever comes from a
record is escaped, since plotly reads a little HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from plotly import graph_objects as go

from analysis.figures import Axis, Series, climb, knob_lines, members, others
from analysis.importance import Importance
from analysis.labels import axis_ends, axis_title, cut, safe, trial_text, unit
from analysis.plots import ticks
from analysis.records import Record

__all__ = ["climb_figure", "front_figure", "importance_figure", "knobs_figure"]

_GREY, _WHOLE, _SMALL = "#8b929b", "#2f7fc1", "#b5860b"
_LUCK = 0.5  # chance of really being on the front, below which a member is there by luck
_SHOWN = 25.0  # points below the dense network's accuracy
_HOVER = "%{text}<extra></extra>"


def front_figure(lines: Sequence[Series], cost: str) -> go.Figure:
    """Accuracy over one cost: fronts as steps, their members as marks, other trials' last networks faint."""
    figure, tables = go.Figure(), [(s, members(s, cost), others(s, cost)) for s in lines]
    for study in dict.fromkeys(s.study for s in lines):
        _add_steps(figure, [(s, table) for s, table, _ in tables if s.study == study])
    for series, table, rest in tables:
        _add_marks(figure, series, rest, cost, "last network of a trial", size=6, opacity=0.28)
        _add_marks(figure, series, table[~table["best"]], cost, "on the front for another cost", size=8, opacity=0.45)
        _add_marks(figure, series, table[table["best"]], cost, "on the front", size=11, opacity=1.0)
        _add_seeds(figure, series, table)
        _add_tests(figure, series, table)
    shown = pd.concat([table for _, table, _ in tables], ignore_index=True)
    _add_dense(figure, [s.record for s in lines])
    _set_axes(figure, shown, [100 * s.record.dense["accuracy"] for s in lines], cost)
    return figure


def climb_figure(lines: Sequence[Series]) -> go.Figure:
    """Hypervolume over epochs spent, a line a study."""
    figure, first = go.Figure(), {s.study: s for s in reversed(lines)}
    for study, series in sorted(first.items()):
        table, name = climb(series.record), safe(series.record.name)
        own = [s.number for s in lines if s.study == study]
        figure.add_scatter(
            x=table["spent"].tolist(),
            y=table["hypervolume"].round(5).tolist(),
            mode="lines",
            line={"shape": "hv", "width": 2, "color": series.colour},
            name=name,
            meta={"any": own},
            hovertemplate=f"{name}<br>%{{x:,}} epochs spent<br>hypervolume %{{y:.4f}}<extra></extra>",
        )
    figure.update_layout(_layout("Hypervolume over epochs spent"))
    figure.update_xaxes(title="epochs spent, all trials together", rangemode="tozero", tickformat=",")
    figure.update_yaxes(title="hypervolume", rangemode="tozero")
    return figure


def knobs_figure(series: Series) -> go.Figure:
    """A line a trial over its knobs, trials with a network on the front in the method's colour."""
    axes, places = knob_lines(series)
    figure = go.Figure()
    for on_front in (False, True):
        chosen = places[places["front"] == on_front].drop(columns="front")
        x, y, keys, texts = _broken(series, chosen)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            line={"width": 1.8 if on_front else 1, "color": series.colour if on_front else _GREY},
            marker={"size": 5 if on_front else 3},
            opacity=0.85 if on_front else 0.4,
            customdata=keys,
            text=texts,
            hovertemplate=_HOVER,
            meta={"series": series.number},
            name="on the front" if on_front else "not on the front",
        )
    figure.update_layout(_layout("Knobs of every trial"), hovermode="closest")
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[safe(f"{cut(axis_title(axis.name), 22)}{' (log)' if axis.log else ''}") for axis in axes],
        range=[-0.4, len(axes) - 0.6],
        showgrid=True,
        autotickangles=[0, -20, -40],
        ticklabeloverflow="allow",
        automargin=True,
    )
    figure.update_yaxes(visible=False, range=[-0.1, 1.1])
    for place, axis in enumerate(axes):
        _add_ends(figure, place, axis)
    return figure


def importance_figure(found: Importance) -> go.Figure:
    """Bars a knob: over the whole front, and at its small end."""
    shares = found.shares.iloc[::-1]
    bound = f"{found.bound:,.3g} {unit(found.cost)}".strip()
    names = {"front": "to reach the front", "small": f"to be accurate at {bound} or less"}
    figure = go.Figure()
    for column in reversed([str(name) for name in shares]):
        figure.add_bar(
            y=[safe(str(name)) for name in shares.index],
            x=(100 * shares[column]).round(2).tolist(),
            orientation="h",
            name=names[column],
            marker={"color": _WHOLE if column == "front" else _SMALL},
            hovertemplate=f"%{{y}}<br>{names[column]}: %{{x:.0f}} %<extra></extra>",
        )
    figure.update_layout(_layout("Importance of the knobs"), bargap=0.35, bargroupgap=0.08, hovermode="closest")
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_layout(legend_traceorder="reversed", height=130 + 44 * len(shares), margin={"t": 40})
    figure.update_xaxes(title="importance in %", rangemode="tozero")
    figure.update_yaxes(automargin=True, showgrid=False, ticklabelstandoff=6)
    return figure


def _add_steps(figure: go.Figure, tables: Sequence[tuple[Series, pd.DataFrame]]) -> None:
    """One line a study: grey where several methods share it."""
    joint = pd.concat([table[table["best"]] for _, table in tables]).sort_values("cost")
    if joint.empty:
        return
    figure.add_scatter(
        x=joint["cost"].tolist(),
        y=joint["accuracy"].tolist(),
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": tables[0][0].colour if len(tables) == 1 else _GREY},
        opacity=0.55,
        hoverinfo="skip",
        meta={"all": [series.number for series, _ in tables]},
    )


def _add_marks(
    figure: go.Figure, series: Series, table: pd.DataFrame, cost: str, name: str, *, size: float, opacity: float
) -> None:
    if table.empty:
        return
    figure.add_scatter(
        x=table["cost"].tolist(),
        y=table["accuracy"].tolist(),
        mode="markers",
        marker={"symbol": series.symbol, "size": size, "color": series.colour, "opacity": opacity},
        customdata=_keys(series, table),
        text=[trial_text(series, row["trial_id"], row, cost) for row in table.to_dict("records")],
        hovertemplate=_HOVER,
        meta={"series": series.number, "role": name},
        name=name,
    )


def _keys(series: Series, table: pd.DataFrame) -> list[list[Any]]:
    """What a click on a point asks for: its trial and epoch."""
    return [[series.key(row["trial_id"]), int(row["epoch"])] for row in table.to_dict("records")]


def _add_seeds(figure: go.Figure, series: Series, table: pd.DataFrame) -> None:
    """What members reached with other seeds, mean and spread; a cross where it was luck that put one on the front."""
    again = table[table["mean"].notna()]
    if again.empty:
        return
    figure.add_scatter(
        x=again["cost"].tolist(),
        y=again["mean"].tolist(),
        error_y={"array": again["std"].fillna(0.0).tolist(), "thickness": 1, "width": 3, "color": series.colour},
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 9, "color": series.colour},
        opacity=0.7,
        hovertemplate="other seeds: %{y:.2f} %<extra></extra>",
        meta={"series": series.number},
        name="other seeds",
    )
    luck = again[again["on_front"] < _LUCK]
    figure.add_scatter(
        x=luck["cost"].tolist(),
        y=luck["accuracy"].tolist(),
        mode="markers",
        marker={"symbol": "x-thin-open", "size": 15, "color": _GREY, "line": {"width": 2}},
        hoverinfo="skip",
        meta={"series": series.number, "role": "luck"},
        name="luck",
    )


def _add_tests(figure: go.Figure, series: Series, table: pd.DataFrame) -> None:
    """What the members have on test data, as hollow marks; hidden until they are asked for."""
    tested = table[table["test"].notna()]
    if tested.empty:
        return
    figure.add_scatter(
        x=tested["cost"].tolist(),
        y=tested["test"].tolist(),
        mode="markers",
        marker={"symbol": f"{series.symbol}-open", "size": 7, "color": series.colour, "line": {"width": 1.2}},
        hovertemplate="test data: %{y:.2f} %<extra></extra>",
        customdata=_keys(series, tested),
        meta={"series": series.number, "test": True},
        visible=False,
        name="test",
    )


def _add_dense(figure: go.Figure, records: Sequence[Record]) -> None:
    """The dense networks' accuracies as broken lines."""
    for value, name in sorted({(100 * r.dense["accuracy"], r.network) for r in records}):
        figure.add_hline(
            y=value,
            line={"dash": "dash", "width": 1, "color": _GREY},
            annotation={
                "text": f"dense {safe(cut(name))} {value:.1f} %",
                "font": {"size": 11},
                "xanchor": "left",
                "x": 0,
                "yanchor": "bottom",
            },
        )


def _set_axes(figure: go.Figure, shown: pd.DataFrame, dense: Sequence[float], cost: str) -> None:
    """Round numbers along a logarithmic cost; accuracies far below the dense networks' stay outside, and a line says so."""
    title = axis_title(cost)
    figure.update_layout(_layout(f"Accuracy over {title}"), hovermode="closest")
    figure.update_xaxes(title=f"{safe(title)} (log scale)", type="log")
    figure.update_yaxes(title="accuracy in %")
    if shown.empty:
        return
    good = shown[shown["accuracy"] > min(dense) - _SHOWN]
    good = good if len(good) else shown
    low, high = float(good["cost"].min()) / 1.2, float(good["cost"].max()) * 1.2
    values = ticks(low, high)
    figure.update_xaxes(
        range=[math.log10(low), math.log10(high)], tickvals=values, ticktext=[f"{v:,g}" for v in values]
    )
    bottom, top = float(good["accuracy"].min()), max(float(shown["accuracy"].max()), *dense)
    edge = max(0.06 * (top - bottom), 0.4)
    figure.update_yaxes(range=[bottom - edge, min(top + 2 * edge, 100 + edge)])
    if hidden := len(shown) - len(good):
        text = f"{hidden} below {bottom - edge:.0f} % not shown; a double click shows all"
        place = {"x": 0.005, "y": 0.01, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, font={"size": 11}, **place)


def _broken(series: Series, places: pd.DataFrame) -> tuple[list[Any], list[Any], list[Any], list[str]]:
    """One trace of many lines: a gap after each, and where a knob is not set."""
    xs: list[Any] = []
    ys: list[Any] = []
    keys: list[Any] = []
    texts: list[str] = []
    for trial_id, row in places.iterrows():
        trial, width = str(trial_id), len(row)
        text = trial_text(series, trial)
        xs += [*range(width), None]
        ys += [*(None if math.isnan(v) else round(float(v), 4) for v in row), None]
        keys += [[series.key(trial), None]] * (width + 1)
        texts += [text] * (width + 1)
    return xs, ys, keys, texts


def _add_ends(figure: go.Figure, place: int, axis: Axis) -> None:
    """The ends of an axis in words, and its choices."""
    for y, text in axis_ends(axis).items():
        shift = {0.0: -11, 1.0: 11}.get(y, 0)
        side = {"yshift": shift} if shift else {"yshift": 8, "xshift": 5, "xanchor": "left"}
        figure.add_annotation(x=place, y=y, **side, text=safe(cut(text, 16)), showarrow=False, font={"size": 11})


def _layout(label: str) -> dict[str, Any]:
    """Transparent, so that the page's own colours show; ``label`` is what a screen reader says."""
    clear = "rgba(0,0,0,0)"
    return {
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "showlegend": False,
        "margin": {"l": 56, "r": 16, "t": 24, "b": 52},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {"align": "left", "font": {"size": 12.5}},
        "meta": {"label": label},
        "dragmode": "zoom",
    }
