"""Quantities as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_size"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(k|M|G|Ki|Mi|Gi)?B?")
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_MOST = 1e300  # bytes; and any float() can hold it


def parse_size(value: float | str) -> float:
    """Bytes: a number, or a text such as ``800B``, ``40kB`` (1000 bytes each), ``1.5MB``, ``64KiB``. ValueError otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        size = float(min(value, _MOST))
    else:
        found = _SIZE.fullmatch(str(value).strip())
        size = float(found[1]) * _UNITS[found[2] or ""] if found else 0.0
    if not 0 < size < _MOST:
        raise ValueError("must be a size above 0, such as 800B, 40kB or 1.5MB")
    return size
