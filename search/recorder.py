"""A thread that delivers the ledger to MLflow, so that a slow or broken tracking server never stops a search.

Lines go in order. One that fails is tried again after a pause while the server does not answer, and dropped with one line
where the server answers and refuses it. What is left at the end is delivered by the next ``--resume`` of the study.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.delivery import Delivery, TrackingCard
from search.ledger import LEDGER, entries

__all__ = ["Recorder"]

Say = Callable[[str], None]
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST"}


class Recorder:
    """Delivers what stands in the ledger of ``folder``; ``wake`` returns at once, ``close`` waits, but not for ever."""

    def __init__(self, folder: Path, uri: str, card: TrackingCard, say: Say) -> None:
        self.folder, self.uri, self.say = folder, uri, say
        self.delivery = Delivery(folder, uri, card)
        self._news, self._closing = threading.Event(), threading.Event()
        self._told, self._client = False, None
        self._news.set()  # a study that goes on may have lines that were not delivered
        self._thread = threading.Thread(target=self._work, name="mlflow-recorder", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """The ledger has a new line."""
        self._news.set()

    def close(self, patience: float = 30.0) -> int:
        """Deliver what is left within ``patience`` seconds; how many lines could not be."""
        self._closing.set()
        self._news.set()
        self._thread.join(patience)
        left = sum(1 for _ in entries(self.folder / LEDGER, self.delivery.position))
        if left:
            kept = f"{left} records wait in {self.folder / LEDGER}"
            self.say(f"MLflow at {self.uri}: {kept}; --resume {self.folder.name} delivers them")
        return left

    def _work(self) -> None:
        # Retrying is ours: one line to the user instead of minutes inside a request.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        # Else it prints two lines a run where a server keeps them.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        last = False
        while not last:
            self._news.wait()
            last = self._closing.is_set()  # what is written before closing is still delivered
            self._news.clear()
            for entry, behind in entries(self.folder / LEDGER, self.delivery.position):
                if not self._deliver(entry):
                    return
                self.delivery.passed(behind)

    def _deliver(self, entry: dict[str, Any]) -> bool:
        """False where the study ends before the server answers."""
        for attempt in range(1_000_000):
            try:
                self._client = self._client or _connect(self.uri)
                self.delivery.apply(self._client, entry)
                return True
            except LookupError:  # it rests on a record that was refused
                return True
            except Exception as error:  # whatever the store or the network raises
                if getattr(error, "error_code", None) in _REFUSALS:
                    self.say(f"MLflow at {self.uri} refused a record: {_line(error)}")
                    return True
                if not self._told:
                    self._told = True
                    self.say(f"MLflow at {self.uri} does not answer ({_line(error)}); the search goes on without it")
                if self._closing.is_set() and attempt >= 1:
                    return False
                self._pause(_PAUSES[min(attempt, len(_PAUSES) - 1)])
        return False

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._closing.wait(0.1):
            pass


def _connect(uri: str) -> Any:
    import logging

    from mlflow.store.db import utils as database  # importing it sets its logger, which tells of every new table
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # tracebacks of this one go to the terminal, where one line of ours tells of an error
    logging.getLogger(database.__name__).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=uri)


def _line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
