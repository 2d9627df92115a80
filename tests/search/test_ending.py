"""The end of a study: what was reached is on disk whatever happens afterwards."""

from __future__ import annotations

import json

import pytest

from analysis.pareto import Scale
from search.archive import Archive
from search.ending import conclude, files_of
from search.folder import ARTIFACTS

DENSE = {"accuracy": 0.95, "size": 1000.0, "rate": 32.0}


@pytest.fixture
def archive(tmp_path):
    (tmp_path / ARTIFACTS).mkdir()
    scale = Scale(["accuracy", "rate"], DENSE, 0.1)
    made = Archive(tmp_path, {"accuracy": "max", "rate": "min"}, scale, 2, {"data": "digits", "split": "holdout-300"})
    for epoch, (accuracy, size) in enumerate([(0.9, 100), (0.8, 50)]):
        metrics = {"epoch": epoch, "accuracy": accuracy, "size": size, "rate": size / 10, "ratio": 1000 / size}
        (tmp_path / ARTIFACTS / f"t1-e00{epoch}.rf").write_bytes(bytes(size))
        made.add("t1", metrics, f"t1-e00{epoch}.rf", {"max_bits": 4})
    (tmp_path / ARTIFACTS / "stray.rf").write_bytes(b"")
    return made


def read(archive):
    return json.loads((archive.folder / "front.json").read_text())


def test_members_are_tested_once_and_written_with_data_and_split(archive):
    asked = []

    def test(paths):
        asked.extend(paths)
        return [0.93, 0.88, 0.79]

    front = conclude(archive, DENSE, test, print)
    assert asked == [str(archive.folder / ARTIFACTS / f"t1-e00{n}.rf") for n in (0, 1)]
    assert front.dense["test_accuracy"] == 0.93
    rows = read(archive)
    assert [row["test_accuracy"] for row in rows] == [0.88, 0.79]
    assert all((row["data"], row["split"]) == ("digits", "holdout-300") for row in rows)
    assert {p.name for p in files_of(front)} == {"front.json", "front.csv", "trials.csv", "front.png"}
    assert not (archive.folder / ARTIFACTS / "stray.rf").exists()


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyboardInterrupt()])
def test_a_front_that_cannot_be_tested_is_there_all_the_same(archive, error):
    said = []

    def test(paths):
        assert [row["test_accuracy"] for row in read(archive)] == [None, None]  # written before
        raise error

    front = conclude(archive, DENSE, test, said.append)
    assert [member.test_accuracy for member in front] == [None, None]
    assert len(read(archive)) == 2
    assert "the front was not tested" in said[0]
    assert (archive.folder / "front.png").exists()
