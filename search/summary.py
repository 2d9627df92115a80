"""What a person reads at the end: the front as a table, where the files are, and the commands to look further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.front import Front, Member
from search_spaces.limits import Constraints

__all__ = ["front_table", "next_steps", "wrong"]

_SHOWN, _KNOBS, _FIXED = 14, 4, 8


def front_table(front: Front, width: int | None = None) -> str:
    """Fixed columns, then the main knobs, as many as ``width`` characters hold; None: all.

    A long front is shown evenly thinned; the files hold all of it. Where there are constraints, ``breaks`` names those that a
    network does not keep.
    """
    knobs = list(dict.fromkeys(k for m in front for k in m.config))[:_KNOBS]
    head = ["accuracy", "test", "bits/w", "bytes", "smaller", "GOps", "relBOPs", "epoch", *knobs]
    dense, limits = front.dense, _limits(front)
    rows = [_dense_row(dense, len(knobs))] + [_row(m, knobs) for m in _thinned(list(front))]
    if limits:
        marks = [",".join(_words(limits.broken(m.metrics))) or "-" for m in _thinned(list(front))]
        for row, mark in zip([head, *rows], ["breaks", "-", *marks], strict=True):
            row.insert(_FIXED, mark)
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


def _limits(front: Front) -> Constraints | None:
    """The study's constraints, None where there are none."""
    given = front.about.get("constraints")
    return Constraints(**given) if given else None


def _words(constraints: Sequence[str]) -> list[str]:
    return [name.partition("_")[2] for name in constraints]


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
        *_kept(front),
        *_ended(front),
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


def wrong(front: Front) -> str:
    """One line for what is not as it was asked for; empty where all is well."""
    if front.interrupted:
        return f"interrupted; above is what was reached, --resume {front.folder.name} goes on"
    if len(front):
        return ""
    trials, failed = front.about["trials"], front.about["failed"]
    if failed and failed == trials:
        return f"all {trials} trials failed; trials.csv says why"
    return "no network is five points better than guessing" if trials else "no time for a trial"


def _kept(front: Front) -> list[str]:
    """How many keep the constraints, where there are some."""
    limits = _limits(front)
    if limits is None:
        return []
    kept = sum(not limits.broken(m.metrics) for m in front)
    asked = ", ".join(f"{name} {value:,g}" for name, value in limits.model_dump(exclude_none=True).items())
    return [f"{kept} of them keep {asked}"]


def _ended(front: Front) -> list[str]:
    """What was not run, and why."""
    refused = front.about.get("refused", 0)
    lines = (
        [f"{refused} more were refused before their first epoch: the front, or a constraint, rules them out"]
        if refused
        else []
    )
    for word, share in front.about.get("shares", {}).items():
        parts = f"{share['members']} of {len(front)} networks, {share['alone']:.0%} of the hypervolume alone"
        lines.append(f"{word}: {parts}, {share['only']:.0%} only with it")
    return lines + (["the hypervolume has come to rest"] if front.about.get("at_rest") else [])
