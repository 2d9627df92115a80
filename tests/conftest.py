from pathlib import Path

import pytest

from tasks import downloads


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Where the real data sets lie; tests that ask for it are skipped where they are not there."""
    root = downloads.data_root()
    missing = [name for name in ("cifar-10-batches-py", "MNIST/raw", "pretrained") if not (root / name).is_dir()]
    if missing:
        pytest.skip(f"no {', '.join(missing)} under {root}; see RATEFRONT_DATA")
    return root
