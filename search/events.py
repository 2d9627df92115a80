"""A search as JSON, an object a line, for programs that watch it.

``event`` says what a line is, ``time`` when, in seconds since 1970:

| event | with |
|---|---|
| message | text |
| study | name, folder, space, objectives, data, split, dense |
| trial_start | trial_id, config |
| epoch | trial_id, epoch, metrics; epoch 0 is the untrained network |
| trial_end | trial_id, end (done, stopped or failed), reason |
| front | size, hypervolume, members: whenever it changed |
| end | folder, files, members (how many), hypervolume, interrupted, exit_code |
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any, TextIO

from search.ending import files_of
from search.front import Front
from search.progress import State, speaker

__all__ = ["Events"]


class Events:
    """A view that writes one line an event, at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._print = speaker(False, stream)

    def say(self, line: str) -> None:
        """A message."""
        self.tell("message", {"text": line})

    def tell(self, event: str, facts: Mapping[str, Any], state: State | None = None) -> None:
        """The facts alone."""
        plain = {"event": event, "time": round(time.time(), 3), **facts}
        self._print(json.dumps(_finite(plain), allow_nan=False, default=str))

    def close(self) -> None:
        """Nothing is open."""

    def end(self, front: Front, exit_code: int) -> None:
        """The last line."""
        facts: dict[str, Any] = {"folder": str(front.folder), "files": [path.name for path in files_of(front)]}
        facts |= {"members": len(front), "hypervolume": front.hypervolume}
        self.tell("end", {**facts, "interrupted": front.interrupted, "exit_code": exit_code})


def _finite(value: Any) -> Any:
    """Without NaN and infinities, which JSON does not have: null in their place."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
