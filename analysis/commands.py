"""``front``, ``compare`` and ``pick``: what MLflow alone can answer. Flags here, answers in the modules that they call."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.quantities import parse_size
from analysis.tables import FORMATS, plain_rows, rendered

if TYPE_CHECKING:
    from analysis.choice import Choice
    from analysis.comparison import Group, Levels
    from analysis.records import Record

__all__ = ["LIMITS", "add_compare", "add_front", "add_limits", "add_pick", "add_places", "add_studies", "picked"]

LIMITS = ("min_accuracy", "max_size", "max_gops", "knee")

DONE, NOTHING = 0, 1
_STUDY = "a study's name, folder or MLflow run"
_FRONT = ("accuracy", "test_accuracy", "rate", "size", "ratio", "gops", "rel_bops")
_HEADS = {
    "number": "#",
    "test_accuracy": "test",
    "rate": "bits/w",
    "size": "bytes",
    "rel_bops": "relBOPs",
    "gops": "GOps",
}
_HEADS |= {"hypervolume": "hypervol.", "trained_gops": "trained GOps", "joint": "joint front"}


def add_places(command: argparse.ArgumentParser) -> None:
    """Where studies are, as the search's own flags say it."""
    command.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="where studies lie (results)"
    )
    command.add_argument(
        "--tracking-uri",
        metavar="URI",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow; the SQLite file at the root of the results where absent",
    )
    command.add_argument("--experiment", metavar="NAME", default="ratefront", help="MLflow experiment (ratefront)")


def _add_study(command: Any) -> None:
    """One study."""
    command.add_argument("study", metavar="STUDY", help=_STUDY)


def add_studies(command: Any) -> None:
    """One or many."""
    command.add_argument("studies", metavar="STUDY", nargs="+", help=_STUDY)


def _add_format(command: Any) -> None:
    command.add_argument("--format", choices=FORMATS, default="table", help="table, csv or json (table)")


def add_front(commands: Any) -> None:
    """``front STUDY``."""
    command = commands.add_parser("front", help="print a study's front")
    _add_study(command)
    _add_format(command)
    add_places(command)
    command.set_defaults(run=_front)


def add_compare(commands: Any) -> None:
    """``compare STUDY…``."""
    command = commands.add_parser(
        "compare",
        help="fronts of several studies side by side",
        description="Each study against its own dense network, BD-rate against the first. Studies of other data, splits, input "
        "shapes or objectives are shown apart.",
    )
    add_studies(command)
    _add_format(command)
    command.add_argument("--png", type=Path, metavar="FILE", help="draw the fronts, too")
    command.add_argument(
        "--size", type=_size, metavar="SIZE", action="append", help="the best accuracy up to it; repeatable"
    )
    command.add_argument(
        "--accuracy", type=_accuracy, metavar="X", action="append", help="the least size from it on; repeatable"
    )
    add_places(command)
    command.set_defaults(run=_compare)


def add_pick(commands: Any) -> None:
    """``pick STUDY``."""
    command = commands.add_parser(
        "pick",
        help="one network of a front, and why",
        description="With --min-accuracy alone the smallest; with a limit on size or GOps the most accurate; with --knee the one "
        "beyond which accuracy costs most. By accuracy on validation data. Exit code 1 where no network keeps the limits.",
    )
    _add_study(command)
    add_limits(command)
    command.add_argument("--json", action="store_true", help="as one JSON object")
    add_places(command)
    command.set_defaults(run=_pick)


def add_limits(command: Any) -> None:
    """Which network of a front."""
    command.add_argument("--min-accuracy", type=_accuracy, metavar="X", help="from 0 to 1")
    command.add_argument("--max-size", type=_size, metavar="SIZE", help="such as 800B, 40kB or 1.5MB")
    command.add_argument("--max-gops", type=_above_zero, metavar="X", help="of one inference")
    command.add_argument("--knee", action="store_true", help="the knee of the front, or of what keeps the limits")


def picked(arguments: argparse.Namespace) -> Choice | None:
    """The network that the limits choose; None where none keeps them, which is said."""
    from analysis.choice import Limits, NothingFits, choose

    limits = Limits(**{name: getattr(arguments, name) for name in LIMITS})
    (record,) = _read(arguments, [arguments.study])
    try:
        return choose(record, limits)
    except NothingFits as error:
        print(f"ratefront: {error}", file=sys.stderr)
        return None


def _read(arguments: argparse.Namespace, studies: Sequence[str]) -> list[Record]:
    from analysis.records import records
    from analysis.server import tracking_uri

    return records(studies, tracking_uri(arguments.tracking_uri, arguments.results, studies), arguments.experiment)


def _front(arguments: argparse.Namespace) -> int:
    from analysis.choice import named

    (record,) = _read(arguments, [arguments.study])
    front = record.front
    knobs = [name for name in record.trials if name not in ("seed", "end", "reason", "epochs")]
    shown = [name for name in _FRONT if name in front]
    if front["on_front"].notna().any():
        shown += ["seeds_accuracy", "seeds_std", "on_front"]
    table = front[["trial_id", "epoch", *shown, "artifact"]] if arguments.format != "table" else front[shown]
    table = table.join(record.trials[knobs].reindex(front["trial_id"]).reset_index(drop=True))
    if arguments.format == "table":
        table.insert(0, "point", [named(row) for _, row in front.iterrows()])
    table.insert(0, "number", range(1, len(front) + 1))
    print(rendered(table, arguments.format, _width(), _HEADS))
    return DONE


def _compare(arguments: argparse.Namespace) -> int:
    from analysis.comparison import Levels, grouped

    groups = grouped(_read(arguments, arguments.studies))
    levels = Levels(arguments.size or (), arguments.accuracy or ())
    print({"table": _told, "csv": _as_csv, "json": _as_json}[arguments.format](groups, levels))
    if arguments.png is not None:
        from analysis.overlay import draw_groups

        draw_groups(groups, arguments.png)
    return DONE


def _told(groups: Sequence[Group], levels: Levels) -> str:
    parts = []
    for group in groups:
        table = group.table(levels)
        for name in table.columns[table.columns.str.startswith("bd_")]:
            table[name] = [f"{value:+.1%}" if value == value else "-" for value in table[name]]
        parts += [group.title, "", rendered(table, "table", _width(), _heads(list(table.columns))), ""]
        if len(group.records) > 1 or table["method"].str.contains("+", regex=False).any():
            parts += ["joint front", "", rendered(group.shares(), "table", _width(), _HEADS), ""]
    if len(groups) > 1:
        parts += [f"{len(groups)} groups: other data, splits, input shapes or objectives are never joined"]
    return "\n".join(parts).rstrip("\n")


def _heads(columns: Sequence[str]) -> dict[str, str]:
    """``accuracy_at_4000B`` as ``best up to 4 kB``."""
    heads = dict(_HEADS)
    for name in columns:
        kind, _, level = name.partition("_at_")
        if level:
            heads[name] = (
                f"best <= {float(level[:-1]):,.0f} B" if kind == "accuracy" else f"bytes >= {float(level):.2%}"
            )
        elif name.startswith("bd_"):
            heads[name] = f"BD-{name.removeprefix('bd_')}"
    return heads


def _as_csv(groups: Sequence[Group], levels: Levels) -> str:
    import pandas as pd

    return rendered(pd.concat([group.table(levels).assign(group=group.title) for group in groups]), "csv", None)


def _as_json(groups: Sequence[Group], levels: Levels) -> str:
    tables = [(group.title, group.table(levels), group.shares()) for group in groups]
    plain = [{"group": title, "studies": plain_rows(table), "shares": plain_rows(s)} for title, table, s in tables]
    return json.dumps(plain, indent=1)


def _pick(arguments: argparse.Namespace) -> int:
    choice = picked(arguments)
    if choice is None:
        return NOTHING
    print(json.dumps(choice.plain()) if arguments.json else choice.line)
    return DONE


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _number(rule: str, parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: {rule}") from error


def _size(text: str) -> float:
    return _number("must be a size above 0, such as 800B, 40kB or 1.5MB", parse_size, text)


def _accuracy(text: str) -> float:
    return _number("must be a number from 0 to 1", lambda word: _within(float(word), 0.0, 1.0), text)


def _above_zero(text: str) -> float:
    return _number("must be a number above 0", lambda word: _within(float(word), 1e-300, 1e300), text)


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(value)
    return value
