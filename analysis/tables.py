"""Tables for people and for programs: fitted to a terminal, as CSV, as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "cell", "fitted", "plain_rows", "rendered"]

FORMATS = ("table", "csv", "json")
_NAME = 16  # characters that the first column keeps in a narrow terminal
_PERCENT = ("accuracy", "test_accuracy", "seeds_accuracy", "seeds_std")
_SHARES = ("rel_bops", "rel_bops_dense", "sparsity", "on_front", "alone", "only")
_WHOLE = ("size", "parameters", "macs", "bops", "seeds", "epochs", "trials")


def fitted(rows: Sequence[Sequence[str]], width: int | None, right: Collection[int], rest: str = "") -> list[str]:
    """Lines of a table at most ``width`` characters wide, the first row its head and the first column names.

    Where that is too wide the names lose their middle, then the last columns are left out, and a line says which, and
    ``rest`` where they are to be found. ``right``: the columns of numbers.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    others = sum(widths[1:]) + 2 * len(widths[1:])
    if width is not None:
        widths[0] = min(widths[0], max(_NAME, width - others))
    fits = [i for i in range(len(widths)) if width is None or sum(widths[: i + 1]) + 2 * i <= width] or [0]
    lines = ["  ".join(_padded(row[i], widths[i], i in right) for i in fits).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    left = rows[0][len(fits) :]
    return [*lines, *([f"(without {', '.join(left)}{rest})"] if left else [])]


def rendered(table: pd.DataFrame, form: str, width: int | None, heads: Mapping[str, str] | None = None) -> str:
    """A table in one of ``FORMATS``; ``heads`` are shorter names for people. Programs get numbers as they are, and null or nothing."""
    if form == "csv":
        return table.to_csv(index=False, lineterminator="\n").rstrip("\n")
    if form == "json":
        return json.dumps(plain_rows(table), indent=1)
    names = [str(name) for name in table.columns]
    body = [
        [cell(name, value) for name, value in zip(names, row, strict=True)] for row in table.itertuples(index=False)
    ]
    right = {i for i, name in enumerate(names) if table[name].dtype.kind in "iufb"}
    head = [(heads or {}).get(name, name) for name in names]
    return "\n".join(fitted([head, *body], width, right, ": --format csv has all"))


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary a row, None where there is nothing; pandas' own JSON rounds the last digit away."""
    known = table.notna().to_numpy()
    rows = zip(table.to_dict("records"), known, strict=True)
    return [
        {str(k): v if there else None for (k, v), there in zip(row.items(), mask, strict=True)} for row, mask in rows
    ]


def cell(name: str, value: Any) -> str:
    """A value as a person reads it: shares in percent, counts with commas, ``-`` where there is none."""
    if value is None or str(value) in ("nan", "<NA>"):
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    if name in _PERCENT or name.startswith("accuracy"):
        return f"{value:.2%}"
    if name in _SHARES:
        return f"{value:.1%}"
    if name in _WHOLE or name.startswith("size"):
        return f"{value:,.0f}"
    whole = abs(value) >= 1e4 or float(value).is_integer()
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _padded(text: str, wide: int, right: bool) -> str:
    """Numbers to the right; names and words to the left."""
    if len(text) > wide:
        text = f"{text[: (wide - 1) // 2]}…{text[len(text) - wide // 2 :]}"
    return text.rjust(wide) if right else text.ljust(wide)
