"""Ray: one laptop or a cluster, started once, quiet, and with the driver's own modules in its workers."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from search_spaces.sections import Resources

__all__ = ["Cluster"]


class Cluster:
    """A connection to Ray. ``local`` is a Ray of our own on this machine, which ends with the study."""

    def __init__(self, address: str | None) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS")
        self.local = not self.address
        self._ours = False

    def connect(self) -> None:
        """Start or join Ray; ConnectionError with one line where the address does not answer."""
        _environment()
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        if ray.is_initialized():
            self.local = False
            return
        options: dict[str, Any] = (
            {"address": self.address} if self.address else {"address": "local", "include_dashboard": False}
        )
        ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
        self._ours = True

    def close(self) -> None:
        """Leave Ray, and end it where it is ours."""
        import ray

        if self._ours:
            ray.shutdown()

    def per_trial(self, resources: Resources) -> dict[str, float]:
        """CPUs and GPUs of one trial; a GPU only where there are some and the device may be one."""
        import ray

        gpus = ray.cluster_resources().get("GPU", 0.0)
        wanted = resources.gpu
        if wanted is None:
            wanted = 1.0 if gpus and resources.device in ("auto", "cuda") else 0.0
        elif wanted and not gpus and resources.device == "auto":
            wanted = 0.0
        return {"cpu": resources.cpu, "gpu": wanted}

    def concurrency(self, per_trial: dict[str, float], limit: int | None) -> int:
        """How many trials run at once."""
        import ray

        total = ray.cluster_resources()
        fits = [math.floor(total.get("CPU", 1) / per_trial["cpu"] + 1e-9)]
        if per_trial["gpu"]:
            fits.append(math.floor(total.get("GPU", 0) / per_trial["gpu"] + 1e-9))
        if min(fits) < 1:
            held = f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"
            raise ValueError(
                f"resources: a trial needs {per_trial['cpu']:g} CPUs and {per_trial['gpu']:g} GPUs, the cluster has {held}"
            )
        return min(min(fits), limit or min(fits))

    @staticmethod
    def call(function: Callable[..., Any], jobs: list[tuple[Any, ...]], per_trial: dict[str, float]) -> list[Any]:
        """Run ``function(*job)`` for every job on the cluster with a trial's resources, in order; its own errors."""
        import ray

        remote = ray.remote(num_cpus=per_trial["cpu"], num_gpus=per_trial["gpu"])(function)
        try:
            return list(ray.get([remote.remote(*job) for job in jobs]))
        except ray.exceptions.RayTaskError as error:
            raise error.cause or error from error


def _environment() -> None:
    """Before Ray starts: its workers inherit this."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial reports no objectives; the searcher knows
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    own = [os.path.abspath(p) for p in sys.path if not os.path.abspath(p).startswith((sys.prefix, sys.base_prefix))]
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*own, os.getcwd(), *before]))
