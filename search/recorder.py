"""A thread that writes to MLflow, so that a slow or broken tracking server never stops a search.

Jobs run in order. One that fails is tried again after a pause while the server does not answer, and dropped with one
line where the server answers and refuses it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Recorder"]

Say = Callable[[str], None]
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST"}


class Recorder:
    """``submit`` returns at once; ``close`` waits for what is left, but not for ever."""

    def __init__(self, uri: str, say: Say) -> None:
        self.uri, self.say = uri, say
        self._jobs: queue.Queue[Callable[[Any], None] | None] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-recorder", daemon=True)
        self._thread.start()

    def __reduce__(self) -> Any:
        """Ray keeps callbacks with the experiment; a recorder that comes back from there is closed."""
        return (_Closed, ())

    def submit(self, job: Callable[[Any], None]) -> None:
        """Queue ``job(client)``."""
        self._jobs.put(job)

    def close(self, patience: float = 30.0) -> int:
        """Deliver what is queued within ``patience`` seconds; how many records could not be."""
        self._jobs.put(None)
        self._closing.set()
        self._thread.join(patience)
        lost = sum(1 for job in list(self._jobs.queue) if job is not None) + int(self._thread.is_alive())
        if lost:
            self.say(f"MLflow at {self.uri}: {lost} records were not delivered; the study's folder holds all of them")
        return lost

    def _work(self) -> None:
        # Retrying is ours: one line to the user instead of minutes inside a request.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        client: Any = None
        told = False
        while (job := self._jobs.get()) is not None:
            for attempt in range(1_000_000):
                try:
                    client = client or _connect(self.uri)
                    job(client)
                    break
                except LookupError:  # it rests on a record that was refused
                    break
                except Exception as error:  # whatever the store or the network raises
                    if getattr(error, "error_code", None) in _REFUSALS:
                        self.say(f"MLflow at {self.uri} refused a record: {_line(error)}")
                        break
                    if not told:
                        told = True
                        self.say(
                            f"MLflow at {self.uri} does not answer ({_line(error)}); the search goes on without it"
                        )
                    if self._closing.is_set() and attempt >= 1:
                        self._jobs.put(job)  # counted as not delivered
                        return
                    self._pause(_PAUSES[min(attempt, len(_PAUSES) - 1)])

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._closing.wait(0.1):
            pass


class _Closed:
    """Takes jobs and does nothing."""

    def submit(self, job: Callable[[Any], None]) -> None:
        """Ignored."""

    def close(self, patience: float = 0.0) -> int:
        """Nothing is lost that was not lost before."""
        return 0


def _connect(uri: str) -> Any:
    import logging

    from mlflow.store.db import utils as database  # importing it sets its logger, which tells of every new table
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow", database.__name__):
        logging.getLogger(name).setLevel(logging.ERROR)

    return MlflowClient(tracking_uri=uri)


def _line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
