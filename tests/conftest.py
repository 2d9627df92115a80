from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks import downloads

LONGEST = "test_kills.py"


def pytest_configure(config: pytest.Config) -> None:
    """Workers that share a machine share its cores."""
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: begun last, it keeps all other workers waiting. Then those of most tests, so that real searches, of few tests
    and on all cores, run side by side no longer than they must."""
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name != LONGEST, -counts[item.path]))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Where the real data sets lie; tests that ask for it are skipped where they are not there."""
    root = downloads.data_root()
    missing = [name for name in ("cifar-10-batches-py", "MNIST/raw", "pretrained") if not (root / name).is_dir()]
    if missing:
        pytest.skip(f"no {', '.join(missing)} under {root}; see RATEFRONT_DATA")
    return root


@pytest.fixture(scope="session", autouse=True)
def start_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Dense networks that tests train are kept for the session, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RATEFRONT_CACHE", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # searches of tests are nobody else's record
        yield folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail at once, on whatever machine: their proxy is an address where nobody answers."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    """A Ray of two CPUs for the tests of one module."""
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level=40)
    yield
    ray.shutdown()


@dataclass(frozen=True)
class SmokeStudy:
    """What ``--space smoke --trials 4 --epochs 2`` left: the front it returned, its folder, what it said."""

    front: Any
    folder: Path
    said: str
    ray_left: bool

    @property
    def members(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "front.json").read_text())


@pytest.fixture(scope="session")
def smoke_study(tmp_path_factory: pytest.TempPathFactory, start_cache: Path) -> SmokeStudy:
    """One real search that many tests read; with a Ray of its own, which ends with it, and a dense network that it trains itself."""
    import ray

    from search import Settings, run
    from search_spaces import Space

    assert not ray.is_initialized(), "own_ray must not be up when the first test asks for smoke_study"
    root = tmp_path_factory.mktemp("results")
    space = Space.load("smoke", {"budget.trials": 4, "budget.epochs": 2})
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("RATEFRONT_CACHE", str(tmp_path_factory.mktemp("cache_of_smoke")))
        front = run(space, Settings(name="smoke", results=root, command="tuner.py --space smoke"))
    return SmokeStudy(front, root / "smoke", said.getvalue(), ray.is_initialized())
