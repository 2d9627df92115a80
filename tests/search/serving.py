"""A real ``mlflow server`` that is killed and started again, for tests and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SILENT = subprocess.DEVNULL


class TrackingServer:
    """On a free port of this machine, with its store under ``folder``."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.process = f"http://127.0.0.1:{self.port}", None
        self.store = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--default-artifact-root", str(folder / "a")]

    def start(self, seconds: float = 90) -> None:
        """Returns when it answers; TimeoutError."""
        words = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1", *self.store]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes that nobody asks
        self.process = subprocess.Popen(words, stdout=SILENT, stderr=SILENT, env=environment, start_new_session=True)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"{self.url} does not answer")

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
