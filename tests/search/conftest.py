from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from ray.tune.experiment import Trial

from analysis.pareto import Scale
from search.archive import Archive
from search.folder import ARTIFACTS
from search_spaces import Space
from tests.search.driving import Driver
from tests.search.serving import TrackingServer

OBJECTIVES = {"accuracy": "max", "rate": "min"}


@pytest.fixture
def smoke_space():
    def make(**changes):
        return Space.load("smoke", {name.replace("__", "."): value for name, value in changes.items()})

    return make


@pytest.fixture
def make_trial():
    """One of Ray's own trials, as callbacks and schedulers are handed it."""

    def make(trial_id="t1", **point):
        config = {"method": "deadzone", "seed": 0, "epochs": 2, "point": {"max_bits": 4, **point}}
        return Trial("trainable", config=config, trial_id=trial_id, stub=True)

    return make


@pytest.fixture
def report():
    """A result as a trial reports it, of a network of 10,000 weights."""

    def make(epoch=1, accuracy=0.9, rate=4.0, trial_id="t1", **more):
        metrics = {"epoch": epoch, "loss": 0.5, "accuracy": accuracy, "rate": rate, "size": int(rate * 1250)}
        metrics |= {"ratio": 32 / rate, "sparsity": 0.5, "mean_bits": rate, "gops": 0.001, "bops": 1e6}
        metrics |= {"parameters": 10_000, "macs": 500_000, "training_gops": 0.003}
        metrics |= {"rel_bops": rate / 32, "rel_bops_dense": rate / 32, "learning_rate": 1e-3}
        metrics |= {"images_per_second": 1000.0, "seconds": 0.1, "failed": False, "done": epoch == 2}
        return {
            **metrics,
            "dead_zone": 0.25,
            "measures": ["dead_zone"],
            "artifact": f"{trial_id}-e{epoch:03d}.rf",
            **more,
        }

    return make


@pytest.fixture
def archive(tmp_path):
    (tmp_path / ARTIFACTS).mkdir()
    dense = {"accuracy": 0.95, "size": 40_000, "rate": 32.0}
    return Archive(tmp_path, OBJECTIVES, Scale(list(OBJECTIVES), dense, 0.1), epochs=2)


@pytest.fixture
def ended():
    """Let a trial end with a last result, for callbacks that read it there."""

    def end(trial, result):
        trial.run_metadata.last_result = result
        return trial

    return end


@pytest.fixture
def closed_address():
    """``host:port`` where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="session")
def record_file(tmp_path_factory) -> Path:
    """An SQLite record with MLflow's tables, which take seconds to make; tests use experiments of their own."""
    return tmp_path_factory.mktemp("record") / "mlflow.db"


@pytest.fixture
def tracking_server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = TrackingServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def driver(tmp_path):
    made = Driver(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.communicate()
