"""Records with every column that a search leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.records import Record
from tests.analysis.recorded import DENSE, record_of

NONE = {"seeds": np.nan, "seeds_accuracy": np.nan, "seeds_std": np.nan, "on_front": np.nan}


def filled(networks: pd.DataFrame, dense: dict[str, float] = DENSE) -> pd.DataFrame:
    """With ratio and artifact."""
    files = [f"artifacts/{t}-e{e:03d}.rf" for t, e in zip(networks["trial_id"], networks["epoch"], strict=True)]
    return networks.assign(ratio=dense["size"] / networks["size"], artifact=files)


def full_record(name: str = "first", **changes: Any) -> Record:
    """As ``record_of``, its front as MLflow has it."""
    plain = record_of(name, **changes)
    front = filled(plain.front).assign(**{k: v for k, v in NONE.items() if k not in plain.front})
    return Record(**{**vars(plain), "epochs": filled(plain.epochs), "front": front, "params": {"train_images": "1000"}})


def front_of(*points: tuple[float, int], **columns: Any) -> pd.DataFrame:
    """Members of a front from (accuracy, size in bytes), the most accurate first."""
    rows = [
        {"trial_id": f"t{n}", "epoch": 2, "accuracy": a, "size": s, "rate": 8 * s / 20_000, "gops": 1e-7 * s}
        for n, (a, s) in enumerate(points)
    ]
    return filled(pd.DataFrame(rows)).assign(test_accuracy=0.5, **{**NONE, **columns})
