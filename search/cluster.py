"""Ray: one laptop or a cluster, started once, quiet, and with the driver's own modules in its workers."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch

from search.interrupt import unheard
from search.node import at_once, outlived
from search_spaces.sections import Resources

__all__ = ["Cluster"]

_STARTS = 3


class Cluster:
    """A connection to Ray. ``local`` is a Ray of our own on this machine, which ends with the study.

    ``gone`` is called, in a thread, where the node of that Ray dies before ``close``.
    """

    def __init__(self, address: str | None, gone: Callable[[], None] | None = None) -> None:
        found = address or os.environ.get("RAY_ADDRESS")
        self.address = None if found == "local" else found
        self.local = not self.address
        self._ours, self._gone, self._watch = False, gone, ExitStack()

    def connect(self) -> None:
        """Start or join Ray; ConnectionError with one line where nobody answers, or it does not start."""
        _environment()
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        if ray.is_initialized():
            self.local = False
            return
        options: dict[str, Any] = (
            {"address": self.address} if self.address else {"address": "local", "include_dashboard": False}
        )
        try:
            _knock(self.address)
            _loopback(self.local)
            _start(options)
        except OSError as error:
            if self.local:
                raise
            reason = str(error).strip().splitlines()[0]
            raise ConnectionError(f"no Ray cluster at {self.address} ({reason})") from error
        self._ours = True
        if self._gone:
            self._watch.enter_context(outlived(self._gone))

    def close(self) -> None:
        """Leave Ray, and end it where it is ours."""
        import ray

        self._watch.close()
        if self._ours:
            at_once()
            ray.shutdown()
            _loopback(False)

    def per_trial(self, resources: Resources) -> dict[str, float]:
        """CPUs and GPUs of one trial; a GPU only where there are some and the device may be one."""
        import ray

        gpus = ray.cluster_resources().get("GPU", 0.0)
        may = resources.device == "cuda" or (resources.device == "auto" and gpus > 0)
        wanted = (1.0 if gpus else 0.0) if resources.gpu is None else resources.gpu
        return {"cpu": resources.cpu, "gpu": wanted if may else 0.0}

    def device(self, resources: Resources, per_trial: Mapping[str, float]) -> str:
        """What a trial uses, ``auto`` resolved: a GPU only where it was given one, since Ray does not hide the others."""
        if resources.device != "auto":
            return resources.device
        if per_trial["gpu"]:
            return "cuda"
        return "mps" if self.local and torch.backends.mps.is_available() else "cpu"

    def concurrency(self, per_trial: Mapping[str, float], limit: int | None) -> int:
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
    def call(function: Callable[..., Any], jobs: list[tuple[Any, ...]], per_trial: Mapping[str, float]) -> list[Any]:
        """Run ``function(*job)`` for every job on the cluster with a trial's resources, in order; its own errors, or MemoryError."""
        import ray

        remote = ray.remote(num_cpus=per_trial["cpu"], num_gpus=per_trial["gpu"])(function)
        try:
            return list(ray.get([remote.remote(*job) for job in jobs]))
        except ray.exceptions.RayError as error:
            raise _own(error, function.__name__) from error

    @staticmethod
    def each(
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        per_trial: Mapping[str, float],
        until: float | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """The same, each job's number and its result or error as soon as it is done.

        ``until``: seconds since 1970 after which no more come. What is left then, or when nobody asks on, is given up.
        """
        import ray

        remote = ray.remote(num_cpus=per_trial["cpu"], num_gpus=per_trial["gpu"])(function)
        waiting = {remote.remote(*job): number for number, job in enumerate(jobs)}
        try:
            while waiting:
                found, _ = ray.wait(list(waiting), timeout=None if until is None else max(0.0, until - time.time()))
                if not found:
                    return
                try:
                    result = ray.get(found[0])
                except ray.exceptions.RayError as error:
                    result = _own(error, function.__name__)
                yield waiting.pop(found[0]), result
        finally:
            with suppress(Exception):  # a cluster that is gone
                for left in waiting:
                    ray.cancel(left, force=True)


def _own(error: Exception, name: str) -> Exception:
    """What a function raised, as it raised it; MemoryError where its process was ended for its memory."""
    import ray

    if isinstance(error, ray.exceptions.OutOfMemoryError):
        used = str(error).splitlines()[0].rpartition(" was ")[2]
        return MemoryError(f"no memory left for {name}, tried three times ({used})")
    return (isinstance(error, ray.exceptions.RayTaskError) and error.cause) or error


def _start(options: dict[str, Any]) -> None:
    """Ray gives up a node that takes 30 s to start, as on a busy machine it may: it is asked again, three times in all."""
    import ray

    for _ in range(_STARTS):
        try:
            with unheard():
                ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
            return
        except Exception as error:  # Ray has no class of its own for it
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise ConnectionError(f"Ray did not start in {_STARTS} times 30 s; this machine is too busy")


def _loopback(only: bool) -> None:
    """Whoever reaches Ray runs code here, and it listens on every interface of Linux unless it is told to be alone."""
    from ray._private import ray_constants

    if sys.platform == "linux":
        ray_constants.ENABLE_RAY_CLUSTER = not only
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = str(int(not only))  # for processes that Ray begins


def _knock(address: str | None) -> None:
    """OSError where nobody answers at ``host:port``; Ray itself would go on asking for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _environment() -> None:
    """Before Ray starts: its workers inherit this."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # result.json is enough; the study adds its logger
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial reports no objectives; the searcher knows
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_task_oom_retries": "2",  # its own default is for ever
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of several jobs that fail alike we tell one
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # of all that Ray knows, which grows with every trial; it is never read again
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    own = [os.path.abspath(p) for p in sys.path if not os.path.abspath(p).startswith((sys.prefix, sys.base_prefix))]
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([str(Path(__file__).parents[1]), *own, os.getcwd(), *before])
    )
