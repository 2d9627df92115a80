"""What a person reads at the end: the front as a table, where the files are, and the commands to look further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.front import Front, Member

__all__ = ["front_table", "next_steps"]

_SHOWN, _KNOBS = 14, 4


def front_table(front: Front, width: int | None = None) -> str:
    """Fixed columns, then the main knobs, as many as ``width`` characters hold; None: all.

    A long front is shown evenly thinned; the files hold all of it.
    """
    knobs = list(dict.fromkeys(k for m in front for k in m.config))[:_KNOBS]
    head = ["accuracy", "test", "bits/w", "bytes", "smaller", "GOps", "relBOPs", "epoch", *knobs]
    dense = front.dense
    rows = [_dense_row(dense, len(knobs))] + [_row(m, knobs) for m in _thinned(list(front))]
    widths = [max(len(head[i]), *(len(r[i]) for r in rows)) for i in range(len(head))]
    fits = [i for i in range(len(head)) if width is None or sum(widths[: i + 1]) + 2 * i <= width]
    lines = ["  ".join(row[i].rjust(widths[i]) for i in fits) for row in [head, *rows]]
    lines.insert(1, "-" * len(lines[0]))
    if len(front) > _SHOWN:
        lines.append(f"({_SHOWN} of {len(front)} members; front.csv has all)")
    if len(fits) < len(head):
        lines.append(f"(without {', '.join(head[len(fits) :])}: front.csv has all)")
    return "\n".join(lines)


def _dense_row(dense: Mapping[str, float], knobs: int) -> list[str]:
    test = f"{dense['test_accuracy']:.2%}" if "test_accuracy" in dense else "-"
    return [
        f"{dense['accuracy']:.2%}",
        test,
        "32.000",
        f"{dense['size']:,.0f}",
        "1.0x",
        _gops(dense["gops"]),
        "100.0%",
        "dense",
        *["-"] * knobs,
    ]


def _row(member: Member, knobs: Sequence[str]) -> list[str]:
    m = member.metrics
    test = "-" if member.test_accuracy is None else f"{member.test_accuracy:.2%}"
    fixed = [
        f"{m['accuracy']:.2%}",
        test,
        f"{m['rate']:.3f}",
        f"{m['size']:,}",
        f"{m['ratio']:.1f}x",
        _gops(m["gops"]),
    ]
    return [*fixed, f"{m['rel_bops']:.1%}", str(member.epoch), *(_cell(member.config.get(k)) for k in knobs)]


def _gops(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _thinned(members: list[Member]) -> list[Member]:
    if len(members) <= _SHOWN:
        return members
    return [members[round(i * (len(members) - 1) / (_SHOWN - 1))] for i in range(_SHOWN)]


def next_steps(front: Front) -> str:
    """Paths and commands."""
    folder, trials = front.folder, front.about["trials"]
    lines = [
        f"{len(front)} networks from {len({m.trial_id for m in front})} of {trials} trials, hypervolume {front.hypervolume:.3f}",
        "",
        f"files    {folder}",
        "         front.json front.csv front.png trials.csv study.yaml artifacts/",
    ]
    if len(front):
        number, smallest = min(enumerate(front, 1), key=lambda pair: pair[1].metrics["size"])
        lines += [
            f"look     python -m compress info {folder / smallest.artifact}",
            f"export   python -m analysis export {folder} {number}",
            f"verify   python -m analysis verify {folder}",
        ]
    where = str(front.about["tracking"])
    lines.append(f"record   {where}" if where.startswith("http") else f"record   mlflow ui --backend-store-uri {where}")
    return "\n".join(lines)
