"""What is taken out of a study, against the file itself."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from analysis.export import Asked, export, tensor_rows
from analysis.studies import BadStudy, open_study
from compress import decompress
from compress.artifact import decode, encode
from compress.halves import device_half
from compress.symbols import Symbols, raw
from tasks import load


@pytest.fixture
def point(digits):
    return open_study(str(digits), digits.parent)[0]


def test_three_files_beside_the_artifacts(point, digits):
    export(point, None, None)
    name, folder = point.name, digits / "exports" / point.name
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.csv", f"{name}.pt", f"{name}.rf"]
    assert (folder / f"{name}.rf").read_bytes() == point.file.read_bytes()
    state, expected = torch.load(folder / f"{name}.pt", weights_only=True), decompress(point.file)
    assert list(state) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_a_second_export_is_the_same_files(point, tmp_path):
    folder, found = tmp_path / "a" / "b", []
    for _ in range(2):
        export(point, folder, None)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == 3


@pytest.mark.parametrize(("name", "ending"), [("artifact", ".rf"), ("state-dict", ".pt"), ("table", ".csv")])
def test_one_format_alone(point, tmp_path, name, ending):
    told = export(point, tmp_path / "out", None, Asked(formats=[name, name]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{point.name}{ending}"]
    assert told.splitlines()[-1].endswith(ending)


def test_the_table_adds_up_to_the_file(point, tmp_path):
    told = export(point, tmp_path / "out", None).splitlines()
    with open(tmp_path / "out" / f"{point.name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(decompress(point.file))
    size, sections = point.file.stat().st_size, sum(int(row["bytes"]) for row in rows)
    totals = {line.split()[0]: line.split()[1] for line in told if line.startswith(("sections", "header", "file"))}
    assert totals == {"sections": f"{sections:,}", "header": f"{size - sections:,}", "file": f"{size:,}"}
    assert 0 < size - sections < 400
    assert any(f"{8 * size / 18814:.3f} bits a weight of 18,814" in line for line in told)
    assert told[-3:] == [str(tmp_path / "out" / f"{point.name}{ending}") for ending in (".rf", ".pt", ".csv")]


def test_a_row_says_what_its_tensor_is():
    index = np.array([[0, 1, 0], [-1, 0, 3]], np.int32)
    tensors = [
        Symbols("w", index, "uniform", {"step": np.ones(1, np.float32)}, 3),
        raw("b", np.array([0.5, 0.0])),
        raw("s", np.array(2.5)),
        raw("none", np.zeros((0, 3))),
    ]
    coded, plain, scalar, none = tensor_rows(decode(encode({}, tensors)))
    assert (coded.name, coded.shape, coded.levels, coded.sparsity, coded.decoder) == ("w", "2x3", 4, 0.5, "uniform")
    assert coded.bits_per_weight == 8 * coded.bytes / 6
    assert (plain.shape, plain.levels, plain.sparsity) == ("2", None, 0.5)
    assert (scalar.shape, scalar.levels) == ("scalar", None)
    assert (none.shape, none.sparsity) == ("0x3", 0.0)
    assert all(row.codec for row in (coded, plain, scalar, none))


@pytest.mark.parametrize("width", [20, 40, 60, 72, 80, 100, None])
def test_a_table_fits_the_terminal(point, tmp_path, width):
    table = export(point, tmp_path, width).split("\n\n")[0].splitlines()
    *lines, last = table
    assert all(len(line) <= (width or 200) for line in lines)
    assert last.startswith("(without ") == ("codec" not in table[0])
    assert len(lines) + (not last.startswith("(")) == 2 + 6


def test_a_damaged_file_is_bad_input_with_its_section(point, tmp_path):
    data = bytearray(point.file.read_bytes())
    data[len(data) // 2] ^= 1
    point.file.write_bytes(data)
    with pytest.raises(BadStudy) as caught:
        export(point, tmp_path / "out", None)
    assert str(caught.value) == f"{point.file}: checksum: the file is damaged or cut off"
    point.file.unlink()
    with pytest.raises(BadStudy, match=r"^\S+\.rf: cannot be read \(No such file or directory\)$"):
        export(point, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_bad_input(point, tmp_path):
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(BadStudy, match=r"^out = '.*taken.*': cannot be written \("):
            export(point, out, None)


@pytest.mark.slow
def test_the_half_of_a_device_is_taken_out_and_runs(divided, tmp_path):
    point = open_study(str(divided), divided.parent)[0]
    export(point, tmp_path, None, Asked(half="device"))
    name = f"{point.name}-device"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.csv", f"{name}.pt", f"{name}.rf"]
    half, whole = load(str(tmp_path / f"{name}.rf")), load(str(point.file))
    x = torch.randn(3, 1, 16, 16)
    with torch.inference_mode():
        sent = half(x)
        assert torch.equal(sent, device_half(whole, x.shape[1:])(x))
    assert sent.shape == (3, 16, 16)
    assert (tmp_path / f"{name}.rf").stat().st_size < 0.5 * point.file.stat().st_size


def test_a_network_in_one_piece_has_no_half(point, tmp_path):
    with pytest.raises(BadStudy, match="names no codebooks"):
        export(point, tmp_path, None, Asked(half="device"))
