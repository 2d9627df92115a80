from __future__ import annotations

import csv
import io

import pytest

from analysis.__main__ import main
from analysis.rebuild import rebuild
from analysis.studies import BadStudy, open_study
from analysis.sweep import parse_psnrs, swept

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "psnrs"),
    [("4:20:8", [4, 12, 20]), ("4:9:2", [4, 6, 8]), ("7:7:1", [7]), ("-5:0:2.5", [-5, -2.5, 0]), ("12,4", [12, 4])],
)
def test_psnrs_are_a_range_or_a_list(text, psnrs):
    assert parse_psnrs(text) == psnrs


@pytest.mark.parametrize(
    "text", ["", "a", "4:20", "4:20:0", "20:4:2", "4:20:-2", "0:1:1e-9", "4:20:nan", "4:inf:2", "101", "nan"]
)
def test_what_is_neither_is_one_line_and_exit_code_2(text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "gone", f"--psnr={text}"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument --psnr: {text!r}: must be dB as FROM:TO:STEP" in line


def test_more_noise_less_accuracy_and_the_record_at_the_trained_psnr(divided, tmp_path, capsys):
    words = ["sweep", str(divided), "1", "--psnr=-40,12,40", "--results", str(tmp_path)]
    assert main([*words, "--format", "csv", "--png", str(tmp_path / "sweep.png")]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    (point,) = open_study(str(divided), tmp_path)
    assert (row["point"], row["codewords"], float(row["trained"])) == (point.name, "6", 12.0)
    low, trained, high = (float(row[f"accuracy_at_{psnr}"]) for psnr in (-40, 12, 40))
    assert trained == point.row["accuracy"]
    assert low < trained <= high + 0.02
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words]) == 0
    head, _, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["point", "codewords", "trained", "dB", "-40", "dB", "12", "dB", "40", "dB"]
    assert line.split()[-2] == f"{trained:.2%}"


def test_a_network_of_one_piece_has_no_channel(digits):
    points = open_study("digits", digits.parent)
    with pytest.raises(BadStudy, match=r"^t\d-e\d+: a network of one piece; only those of method codebook send"):
        swept(points, rebuild(digits, digits), [4.0])


def test_a_picture_that_cannot_be_written_is_one_line(divided, tmp_path, capsys):
    wrong = tmp_path / "gone" / "sweep.png"
    assert main(["sweep", str(divided), "--psnr", "20", "--results", str(tmp_path), "--png", str(wrong)]) == 2
    assert capsys.readouterr().err.startswith(f"ratefront: png = {str(wrong)!r}: cannot be written")
