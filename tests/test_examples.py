"""The examples run as they are, as a user would run them."""

import json
import re
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


@pytest.mark.slow
def test_a_network_goes_to_a_file_and_back_without_ray(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("RATEFRONT_DATA", str(tmp_path))
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('ray' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", code, str(EXAMPLES / "compress_once.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r"digits: test error ([\d.]+)%, (\d+) bytes, (\d+) times smaller than float32\n", done.stdout)
    assert said, done.stdout
    error, size, ratio = map(float, said.groups())
    assert (tmp_path / "network.rf").stat().st_size == size
    assert error < 10
    assert ratio > 25


@pytest.mark.parametrize(("name", "lines"), [("own_network", 40), ("compress_once", 30)])
def test_an_example_is_short(name, lines):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= lines
