"""What the live display shows, and that it leaves a terminal as it found it."""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.display import Display, frame, is_terminal
from search.events import Events
from search.front import Member
from search.progress import Lines, Running, State
from search.study import Settings, _view

FACTS = {"name": "night", "space": "smoke", "data": "digits"}
KNOBS = {"init_deadzone_logit": 0.83712, "max_bits": 5, "schedule": "cosine"}
METRICS = {"accuracy": 0.91, "rate": 2.125, "size": 5000}


def member(size, accuracy):
    metrics = {"accuracy": accuracy, "size": size, "rate": size / 1250}
    return Member(trial_id="t1", epoch=1, metrics=metrics, config=KNOBS, artifact=f"{size}.rf")


def state(running=2, members=((1000, 0.8), (4000, 0.92)), **changes):
    given = {
        "trials": 20,
        "epochs": 4,
        "ends": Counter(done=3, stopped=1, failed=1, running=running),
        "running": tuple(Running(f"trial{n}", n, METRICS if n else {}, KNOBS) for n in range(running)),
        "spent": 15,
        "to_come": 40,
        "members": tuple(member(*m) for m in members),
        "hypervolume": 0.4567,
        "dense": {"accuracy": 0.95, "size": 40_000},
        "elapsed": 61.0,
        "left": 420.0,
        "at": time.time(),
    }
    return State(**{**given, **changes})


def plain(*arguments):
    return [line.plain for line in frame(*arguments)]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns and 24 lines."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


@pytest.fixture
def display(terminal):
    display = Display(terminal)
    yield display
    display.close()


class TestFrame:
    def test_the_head_counts_trials_epochs_and_networks(self):
        title, epochs, trials, front = plain(state(), FACTS, 80, 24)[:4]
        assert title.startswith("night  smoke on digits  ")
        assert title.endswith("  61 s · about 7 min left")
        assert epochs.endswith(" 15/80")
        assert trials == "trials   2 running · 3 done · 1 stopped · 1 failed of 20"
        assert front == "front    2 networks · hypervolume 0.457 · ┈ dense 95.00%, 40.0 kB"

    def test_the_bar_is_what_is_not_to_come(self):
        halves = plain(state(to_come=40), FACTS, 80, 24)[1]
        assert abs(halves.count("━") - halves.count("─")) <= 1
        assert "━" not in plain(state(to_come=80), FACTS, 80, 24)[1]
        assert "─" not in plain(state(to_come=0), FACTS, 80, 24)[1]

    def test_nothing_is_said_of_what_did_not_happen(self):
        lines = plain(state(ends=Counter(done=1), left=None), FACTS, 80, 24)
        assert lines[2] == "trials   2 running · 1 done of 20"
        assert lines[0].endswith("  61 s")

    def test_a_line_a_trial_with_a_dash_for_what_is_not_measured(self):
        lines = plain(state(), FACTS, 120, 12)
        heads = lines[5].split()[:8]
        assert heads == ["trial", "epoch", "accuracy", "bits/w", "size", "init_deadzone_l…", "max_bits", "schedule"]
        assert lines[6].split()[:7] == ["trial0", "0", "-", "-", "-", "0.837", "5"]
        assert lines[7].split()[:8] == ["trial1", "1", "91.00%", "2.125", "5.00", "kB", "0.837", "5"]

    @pytest.mark.parametrize(
        ("width", "last"), [(38, "bits/w"), (50, "size"), (65, "init_deadzone_l…"), (72, "max_bits"), (90, "schedule")]
    )
    def test_columns_that_do_not_fit_are_left_out(self, width, last):
        assert plain(state(members=()), FACTS, width, 24)[5].split()[-1] == last

    @pytest.mark.parametrize(("width", "beside"), [(80, False), (140, True)])
    def test_the_picture_is_beside_the_trials_where_there_is_room(self, width, beside):
        lines = plain(state(), FACTS, width, 30)
        (row,) = [line for line in lines if "95.00% ┤" in line]
        assert (lines.index(row) == 5) is beside
        assert sum(line.count("●") for line in lines) == 2

    def test_a_low_terminal_has_no_picture(self):
        lines = plain(state(), FACTS, 80, 12)
        assert not any("┤" in line for line in lines)
        assert any("trial1" in line for line in lines)

    def test_trials_that_do_not_fit_are_counted(self):
        lines = plain(state(running=30), FACTS, 80, 14)
        shown = sum("trial" in line for line in lines[6:])
        assert lines[-1] == f"and {30 - shown} more"

    def test_the_least_is_one_line(self):
        (line,) = plain(state(), FACTS, 200, 1)
        assert line.startswith("[  61 s] 3/20 trials done | 2 running | 1 stopped")

    def test_names_stay_on_their_line(self):
        trial = Running("t", 1, {}, {"knob": "two\nlines\tand tabs"})
        lines = plain(replace(state(), running=(trial,)), {**FACTS, "name": "a\nb"}, 80, 24)
        assert lines[0].startswith("a b  smoke on digits ")
        assert any("two lines and t…" in line for line in lines)

    @settings(deadline=None)
    @given(
        st.integers(20, 200),
        st.integers(1, 60),
        st.integers(0, 40),
        st.lists(st.tuples(st.integers(1, 10**9), st.floats(0, 1)), max_size=8),
        st.text(max_size=30),
        st.none() | st.floats(0, 1e7),
    )
    def test_any_state_fits_any_terminal(self, width, height, running, members, name, left):
        lines = frame(state(running, members, left=left), {**FACTS, "name": name}, width, height)
        assert 1 <= len(lines) <= max(1, height - 1)
        assert all(line.cell_len <= width and "\n" not in line.plain for line in lines)


class TestDisplay:
    def test_it_appears_with_the_first_trial(self, display, terminal):
        display.say("before")
        display.tell("study", FACTS)
        assert terminal.getvalue() == "before\n"
        display.tell("trial_start", {}, state())
        assert "night" in terminal.getvalue()

    def test_messages_are_printed_above_it(self, display, terminal):
        display.tell("trial_start", {}, state())
        start = len(terminal.getvalue())
        display.say("a [bold] message")
        said = terminal.getvalue()[start:]
        assert re.search(r"\x1b\[1A.*a \[bold\] message\n.*trials ", said, re.DOTALL)

    def test_it_leaves_a_line_and_a_sane_terminal(self, display, terminal):
        display.tell("study", FACTS)
        display.tell("trial_end", {}, state())
        display.close()
        out = terminal.getvalue()
        assert out.rindex("\x1b[?25h") > out.rindex("\x1b[?25l")
        assert "\x1b[?1049" not in out
        last = out.rpartition("\x1b[2K")[2]
        assert "3/20 trials done | 2 running" in last
        assert "left" not in last
        display.close()
        assert terminal.getvalue() == out

    def test_nothing_is_left_where_nothing_was_shown(self, display, terminal):
        display.close()
        assert terminal.getvalue() == ""

    def test_a_report_draws_nothing(self, display, terminal, monkeypatch):
        display.tell("trial_start", {}, state())
        monkeypatch.setattr(display._live, "refresh", lambda: pytest.fail("drawn by a report"))
        display._live._refresh_thread.stop()
        display._live._refresh_thread.join()
        for _ in range(100):
            display.tell("epoch", {}, state())
        monkeypatch.undo()

    def test_lines_that_a_narrower_terminal_broke_are_all_erased(self, display, terminal):
        display.tell("trial_start", {}, state())
        display._live._refresh_thread.stop()
        display._live._refresh_thread.join()
        drawn = [line.cell_len for line in display.lines()]
        display.console.width = 30
        start = len(terminal.getvalue())
        display._live.refresh()
        pieces = sum(max(1, -(-cells // 30)) for cells in drawn)
        assert terminal.getvalue()[start:].count("\x1b[1A") == pieces - 1
        assert max(drawn) > 60

    def test_no_color_is_kept_to(self, terminal, monkeypatch):
        def colours():
            terminal.truncate(0)
            display = Display(terminal)
            display.tell("trial_start", {}, state())
            display.close()
            return re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue())

        assert colours()
        monkeypatch.setenv("NO_COLOR", "1")
        assert not colours()

    @pytest.mark.parametrize("error", [BrokenPipeError, ValueError("closed file")])
    def test_a_terminal_that_was_closed_stops_nothing(self, terminal, monkeypatch, error):
        def fail(*words):
            raise error

        display = Display(terminal)
        monkeypatch.setattr(terminal, "write", fail)
        monkeypatch.setattr(terminal, "flush", fail)
        display.tell("trial_start", {}, state())
        display.say("nobody hears this")
        display.close()


@pytest.mark.parametrize(
    ("term", "tty", "encoding", "able"),
    [
        ("xterm", True, "utf-8", True),
        ("dumb", True, "utf-8", False),
        ("", True, "utf-8", False),
        ("xterm", False, "utf-8", False),
        ("xterm", True, "iso8859-1", False),
    ],
)
def test_what_a_live_display_needs(terminal, monkeypatch, term, tty, encoding, able):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(Terminal, "isatty", lambda self: tty)
    monkeypatch.setattr(Terminal, "encoding", encoding)
    assert is_terminal(terminal) is able


@pytest.mark.parametrize(
    ("settings", "tty", "kind"),
    [
        ({}, True, Display),
        ({}, False, Lines),
        ({"quiet": True}, True, Lines),
        ({"json": True}, True, Events),
        ({"json": True}, False, Events),
    ],
)
def test_the_view_follows_the_settings_and_the_terminal(terminal, monkeypatch, settings, tty, kind):
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr(Terminal, "isatty", lambda self: tty)
    view = _view(Settings(**settings))
    assert type(view) is kind
    view.say("a line")
    assert ("a line" in terminal.getvalue()) is ("quiet" not in settings)
