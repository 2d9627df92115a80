"""Records of studies that were never run, small enough to know every number of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.records import Record

EPOCHS = 3
DENSE = {"accuracy": 0.95, "size": 80_000.0, "rate": 32.0, "gops": 0.01, "weights": 20_000.0, "test_accuracy": 0.94}
TAGS = {"space": "smoke", "commit": "abc", "version.torch": "2.6", "start": "trained here"}


def record_of(
    name: str = "first", methods: Sequence[str] = ("deadzone",), count: int = 12, gops: bool = False, **changes: Any
) -> Record:
    """Trials t0, t1 … in turn of each method: the bits decide the size, the learning rate next to nothing.

    Every trial halves its size an epoch; the last one failed after its first.
    """
    random = np.random.default_rng(0)
    rows, networks = {}, []
    for number in range(count):
        trial, bits = f"t{number}", 2 + number % 7
        failed = number == count - 1 and count > 1
        head = {"method": methods[number % len(methods)], "seed": number, "end": "failed" if failed else "done"}
        head |= {"reason": "loss is nan" if failed else "", "epochs": 1 if failed else EPOCHS}
        knobs = {"bits": bits, "base.lr": 10 ** random.uniform(-4, -2), "kind": "ab"[number % 2], "once": 1.0}
        rows[trial] = head | knobs
        for epoch in range(head["epochs"] + 1):
            size = int(4000 * bits * 0.5**epoch)
            accuracy = 0.95 - 0.1 / bits - 0.01 * epoch - 0.001 * number
            measured = {"accuracy": accuracy, "size": size, "rate": 8 * size / 20_000, "gops": 0.001 * (number + 1)}
            networks.append({"trial_id": trial, "epoch": epoch, **measured, "training_gops": 1.0})
    epochs = pd.DataFrame(networks)
    best = epochs.sort_values(["size", "accuracy"], ascending=[True, False])
    front = best[best["accuracy"] > best["accuracy"].cummax().shift(fill_value=-1)]
    front = front.sort_values("accuracy", ascending=False, ignore_index=True)
    objectives = {"accuracy": "max", "rate": "min", **({"gops": "min"} if gops else {})}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial_id")
    whole = {
        "name": name,
        "run_id": f"run-{name}",
        "tags": TAGS,
        "params": {},
        "objectives": objectives,
        "dense": DENSE,
    }
    whole |= {"chance": 0.1, "split": "holdout-300", "data": "digits", "method": methods[0], "network": "mlp"}
    whole |= {"input_shape": (1, 8, 8), "trials": table, "epochs": epochs}
    return Record(**{**whole, "front": front.assign(test_accuracy=front["accuracy"] - 0.01), **changes})
