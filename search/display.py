"""The live display of a search in a terminal: trials, epochs, time, the trials that run, and the front as a picture."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TextIO, cast

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from search.picture import draw, in_bytes, picture_of
from search.progress import Running, State, duration, line_of

__all__ = ["Display", "frame", "is_terminal"]

_WIDE = 116  # columns from which the picture stands beside the trials
_LEAST, _MOST = 7, 13  # lines of the picture
_HINT = "Ctrl-C ends the search and keeps the front"


def is_terminal(stream: TextIO) -> bool:
    """Whether a live display can be drawn there."""
    able = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return able and stream.isatty() and "utf" in (stream.encoding or "").lower()


class Display:
    """A view for a terminal: messages are printed above, and the last state stays as one line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.console = Console(
            file=cast(TextIO, _Unbreakable(stream or sys.stdout)), highlight=False, markup=False, emoji=False
        )
        self._facts: Mapping[str, Any] = {}
        self._state: State | None = None
        self._live: _Live | None = None

    def say(self, line: str) -> None:
        """Above the display where it is shown; the terminal breaks long lines."""
        self.console.print(Text(line), soft_wrap=True)

    def tell(self, event: str, facts: Mapping[str, Any], state: State | None = None) -> None:
        """Kept for the next redraw; the display appears with the first trial."""
        self._facts = facts if event == "study" else self._facts
        self._state = state or self._state
        if state and not self._live:
            self._live = _Live(self)
            self._live.start(refresh=True)

    def close(self) -> None:
        """The display goes, a line stays."""
        if self._live and self._live.is_started:
            self._live.stop()
            if self._state:
                self.say(line_of(replace(self._state.later(time.time()), left=None)))

    def lines(self) -> list[Text]:
        """What is to be seen now; two columns stay free for the ``^C`` that a terminal echoes."""
        if not self._state:
            return []
        width, height = self.console.size
        return frame(self._state.later(time.time()), self._facts, max(1, width - 2), height)


class _Live(Live):
    """Redrawn four times a second by a thread of its own, and never by a report."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._drawn: list[int] = []
        self._width = display.console.width
        # standard error is left alone where it goes elsewhere
        super().__init__(
            console=display.console, transient=True, redirect_stderr=sys.stderr.isatty(), refresh_per_second=4
        )

    def get_renderable(self) -> Text:
        """The lines of the display."""
        lines = self._display.lines()
        self._drawn = [line.cell_len for line in lines]
        return Text("\n", no_wrap=True, end="").join(lines)

    def refresh(self) -> None:
        """A terminal that got narrower has broken the lines drawn before: start above all of their pieces."""
        with self._lock:
            width = self.console.width
            if width < self._width:
                pieces = sum(max(0, (cells - 1) // width) for cells in self._drawn)
                up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * pieces
                self.console.control(Control(*up))
            self._width = width
            super().refresh()


class _Unbreakable:
    """A stream that a closed terminal does not break: nobody looks, and the search goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def frame(state: State, facts: Mapping[str, Any], width: int, height: int) -> list[Text]:
    """The display as lines: none longer than ``width``, fewer than ``height`` where that is more than one."""
    room = max(1, height - 1)
    lines = _head(state, facts, width)
    if room < len(lines):
        lines = [Text(line_of(state))] if room == 1 else lines[1 : room + 1]
    elif room > len(lines) + 2:
        lines += [Text(), *_body(state, width, room - len(lines) - (3 if room > 14 else 1))]
        lines += [Text(), Text(_HINT, style="dim")] if room > 14 else []
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _head(state: State, facts: Mapping[str, Any], width: int) -> list[Text]:
    """What is searched and the time; epochs; trials; the front."""
    clock = duration(state.elapsed) + (f" · about {duration(state.left)} left" if state.left is not None else "")
    title = Text(_clean(facts.get("name", "search")), style="bold")
    about = f"  {facts['space']} on {facts['data']}" if {"space", "data"} <= set(facts) else ""
    title.append(_clean(about, keep=2), style="not bold dim")
    title.truncate(max(1, width - len(clock) - 2), overflow="ellipsis", pad=True)
    title.append(f"  {clock}", style="not bold")
    return [title, _epochs(state, width), _trials(state), _front(state, width)]


def _epochs(state: State, width: int) -> Text:
    """Full when no epoch is to come, though trials may have ended early."""
    count = f" {state.spent}/{state.budget}"
    cells = max(1, width - 9 - len(count))
    full = round(cells * (1 - state.to_come / max(1, state.budget)))
    bar = ("━" * full, "green"), ("─" * (cells - full), "dim")
    return Text.assemble(("epochs   ", "dim"), *bar, count)


def _trials(state: State) -> Text:
    styles = {"done": "green", "stopped": "yellow", "failed": "bold red"}
    parts = [(f"{len(state.running)} running", "cyan"), (f"{state.ends['done']} done", "green")]
    parts += [(f"{state.ends[end]} {end}", styles[end]) for end in ("stopped", "failed") if state.ends[end]]
    return _listed("trials", parts).append(f" of {state.trials}", "dim")


def _front(state: State, width: int) -> Text:
    noun = "" if width < 66 else " network" if len(state.members) == 1 else " networks"
    parts = [(f"{len(state.members)}{noun}", "bold cyan"), (f"hypervolume {state.hypervolume:.3f}", "")]
    dense = state.dense
    return _listed("front", [*parts, (f"┈ dense {dense['accuracy']:.2%}, {in_bytes(dense['size'])}", "yellow")])


def _listed(name: str, parts: Sequence[tuple[str, str]]) -> Text:
    return Text.assemble((f"{name:<9}", "dim"), Text(" · ", style="dim").join(Text(*part) for part in parts))


def _body(state: State, width: int, room: int) -> list[Text]:
    """The trials that run, and the picture beside them, below them, or not at all."""
    picture = picture_of((member.metrics for member in state.members), state.dense)
    wide = width >= _WIDE
    if not picture or room < (_LEAST if wide else _LEAST + 4):
        return _table(state.running, width, room)
    if not wide:
        below = min(_MOST, max(_LEAST, room - len(state.running) - 2))
        return [*_table(state.running, width, room - below - 1), Text(), *draw(picture, width, below)]
    height = min(room, _MOST)
    left = _table(state.running, width * 11 // 20, height)
    edge = max(line.cell_len for line in left) + 3
    right = draw(picture, min(width - edge, 100), height)
    left += [Text() for _ in range(len(right) - len(left))]
    for line, piece in zip(left, right, strict=True):
        line.pad_right(edge - line.cell_len)
        line.append_text(piece)
    return left


def _table(running: Sequence[Running], width: int, room: int) -> list[Text]:
    """A line a trial in ``room`` lines, with the columns that ``width`` has room for: the knobs are the last."""
    shown = running if len(running) < room else running[: max(0, room - 2)]
    knobs = list(dict.fromkeys(knob for trial in running for knob in trial.config))
    rows = [["trial", "epoch", "accuracy", "bits/w", "size", *(_short(knob) for knob in knobs)]]
    rows += [[*_measures(trial), *(_value(trial.config.get(knob)) for knob in knobs)] for trial in shown]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    count = max(1, sum(sum(widths[: i + 1]) + 2 * i <= width for i in range(len(widths))))
    lines = [
        Text("  ".join(row[i].rjust(widths[i]) for i in range(count)), style="" if number else "dim")
        for number, row in enumerate(rows)
    ]
    if len(shown) < len(running):
        lines.append(Text(f"and {len(running) - len(shown)} more", style="dim"))
    return lines[:room]


def _measures(trial: Running) -> list[str]:
    """The columns of every method; a dash before the first epoch was measured."""
    m, name = trial.metrics, trial.trial_id
    known = [f"{m['accuracy']:.2%}", f"{m['rate']:.3f}", in_bytes(m["size"])] if m else ["-"] * 3
    return [_clean(name[-8:]), str(trial.epoch), *known]


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else _short(_clean(value))


def _clean(value: Any, keep: int = 0) -> str:
    """On one line, ``keep`` blanks before it."""
    text = " ".join(str(value).split())
    return " " * keep + text if text else ""
