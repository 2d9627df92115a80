"""The examples run as they are, as a user would run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_a_network_and_data_of_ones_own_are_searched(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    command = [sys.executable, str(EXAMPLES / "own_network.py"), "mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "smaller" in done.stdout
    front = json.loads((tmp_path / "results/mine/front.json").read_text())
    assert front
    assert all(
        (tmp_path / "results/mine" / member["artifact"]).stat().st_size == member["size_bytes"] for member in front
    )
    assert max(member["test_accuracy"] for member in front) > 0.8


def test_the_example_is_forty_lines():
    assert len((EXAMPLES / "own_network.py").read_text().splitlines()) <= 40
