"""What ``verify`` is given: a folder, a name that only MLflow knows, one file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.lone import decoded, points_of
from analysis.studies import BadStudy, open_study


@pytest.fixture
def said(capsys):
    def call(*words):
        code = main(["verify", *map(str, words)])
        return code, capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def file(recorded):
    """One network, taken out of its study."""
    (recorded / "taken").mkdir()
    point = open_study("first", recorded / "results")[0]
    return Path(shutil.copy(point.file, recorded / "taken"))


@pytest.mark.slow
def test_a_file_that_was_taken_out_is_compared_with_its_study(file, said):
    code, lines = said(file)
    assert code == 0
    assert lines[-1] == "verified: 1 network"
    assert any(file.stem in line and line.endswith("ok    the same") for line in lines)


def test_where_no_folder_has_it_mlflow_does(recorded, file, said):
    shutil.rmtree(recorded / "results")
    assert said(file)[0] == 0


def test_it_is_the_given_file_that_is_checked(recorded, file, said):
    other = open_study("first", recorded / "results")[1].file
    shutil.copy(other, file)
    code, lines = said(file)
    assert code == 1
    assert any("front.json says" in line for line in lines)
    assert said("first")[0] == 0


def test_a_file_of_no_known_study_decodes(recorded, file, said, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    moved = file.rename(file.with_name("net.rf"))
    shutil.rmtree(recorded / "results")
    code, (line,) = said(moved)
    assert code == 0
    size = moved.stat().st_size
    assert line.startswith(f"{moved}: {size:,} bytes decode into ")
    assert "its accuracy is not compared" in line


def test_a_damaged_file_is_bad_input(tmp_path):
    (tmp_path / "x.rf").write_bytes(b"RFNT")
    with pytest.raises(BadStudy, match=r"x\.rf"):
        decoded(tmp_path / "x.rf")


def test_a_study_that_only_mlflow_has(recorded, said, monkeypatch):
    names = [point.name for point in open_study("first", recorded / "results")]
    shutil.rmtree(recorded / "results")
    code, lines = said("first")
    assert code == 0
    assert lines[-1] == f"verified: {len(names)} networks"
    assert all(any(name in line for line in lines) for name in names)


def test_nothing_is_left_behind(recorded, file):
    with points_of(str(file), recorded / "results", None, "ratefront") as points:
        (point,) = points
        assert point.file.read_bytes() == file.read_bytes()
    assert not point.folder.exists()
