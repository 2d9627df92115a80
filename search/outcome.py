"""How a trial ended, in one place: what Ray, Optuna and MLflow are told of it.

| our word | Ray | Optuna | MLflow |
|---|---|---|---|
| done: every epoch of its budget | TERMINATED | COMPLETE | FINISHED |
| stopped: ended before, in good order | TERMINATED | COMPLETE, with ``fidelity``, the share of its epochs | FINISHED |
| failed: a number that is not finite, or a crash | TERMINATED or ERROR | FAIL | FAILED |

Policy: the sampler learns from every trial that ended in good order. A stopped trial's last vector is that of another budget;
left out, the sampler is told of nothing but what a rung found good, and never learns where not to look (measured:
docs/architecture.md). The one place that decides is ``StudySearch.stopped``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

__all__ = ["Outcome", "outcome_of"]


class Outcome(StrEnum):
    """The end of a trial; its value is the tag ``end`` of the MLflow run."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


def outcome_of(result: Mapping[str, Any] | None, error: bool, epochs: int, objectives: Sequence[str]) -> Outcome:
    """From a trial's last result."""
    if error or not result or result.get("failed"):
        return Outcome.FAILED
    values = [result.get(name) for name in objectives]
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        return Outcome.FAILED
    return Outcome.DONE if int(result.get("epoch", 0)) >= epochs else Outcome.STOPPED
