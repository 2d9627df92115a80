"""The flags of ``export`` and ``register``; what they lead to is tested beside it."""

from __future__ import annotations

import argparse
import shutil

import pytest

from analysis.__main__ import main
from analysis.studies import open_study
from analysis.taking import add_export


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_export(parser.add_subparsers())
    return parser.parse_args(["export", *words])


def test_a_network_that_is_picked_is_exported_by_one_command(recorded, capsys):
    assert main(["export", "first", "--knee", "--format", "artifact", "--out", "out"]) == 0
    line, *_, written = capsys.readouterr().out.splitlines()
    name = line.split()[1].rstrip(":")
    assert "the knee of " in line
    assert written == f"out/{name}.rf"
    kept = recorded / "results" / "first" / "artifacts" / f"{name}.rf"
    assert (recorded / written).read_bytes() == kept.read_bytes()


def test_where_nothing_fits_nothing_is_written(recorded, capsys):
    assert main(["export", "first", "--max-size", "1B", "--out", "out"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("ratefront: no network of first has at most 1 bytes; nearest is ")
    assert not (recorded / "out").exists()


def test_a_study_that_only_mlflow_has(recorded, capsys):
    (point, *_) = open_study("first", recorded / "results")
    data = point.file.read_bytes()
    shutil.rmtree(recorded / "results")
    assert main(["export", "first", "1", "--format", "artifact", "--format", "table"]) == 0
    folder = recorded / "exports" / "first"
    assert sorted(path.name for path in folder.iterdir()) == [f"{point.name}.csv", f"{point.name}.rf"]
    assert (folder / f"{point.name}.rf").read_bytes() == data


@pytest.mark.slow
def test_an_onnx_file_says_how_it_was_checked(recorded, capsys):
    words = ["--format", "onnx", "--out", "out", "--data-root", "."]
    assert main(["export", "first", "1", *words]) == 0
    out, err = capsys.readouterr()
    (point, *_) = open_study("first", recorded / "results")
    assert err == ""
    assert [path.name for path in (recorded / "out").iterdir()] == [f"{point.name}.onnx"]
    (line,) = [line for line in out.splitlines() if line.startswith("onnx ")]
    assert line.endswith(" from PyTorch on 64 validation images")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["first"],
            "point = None: must be given, or one of --min-accuracy, --max-size, --max-gops and --knee, not both",
        ),
        (["first", "1", "--knee"], "point = '1': must be given, or one of "),
        (["first", "1", "--opset", "18"], "--opset: goes with --format onnx"),
        (["first", "1", "--input-shape", "1,8,8"], "--input-shape: goes with --format onnx"),
        (["first", "1", "--format", "onnx", "--input-shape", "1,9,9"], "input shape = 1x9x9: the network does not run"),
        (["front.json", "1"], "study = 'front.json': must be a study, not a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(recorded, capsys, words, message):
    (recorded / "front.json").write_text("[]")
    assert main(["export", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"ratefront: {message}")
    assert not (recorded / "results" / "first" / "exports").exists()


@pytest.mark.parametrize("text", ["3,x,32", "0,8", "", "3x32x32", "1,-8,8", "1,99999,99999"])
def test_shapes_that_are_none(text, capsys):
    with pytest.raises(SystemExit):
        parsed("first", "1", f"--input-shape={text}")
    rule = "1,048,576 numbers at most" if "99999" in text else "whole numbers from 1, such as 3,32,32"
    assert f"{text!r}: must be {rule}" in capsys.readouterr().err


def test_a_shape():
    assert parsed("first", "1", "--input-shape", "3,32,64").input_shape == (3, 32, 64)


def test_a_limit_of_zero_is_a_limit(recorded, capsys):
    assert main(["export", "first", "--min-accuracy", "0", "--format", "artifact", "--out", "out"]) == 0
    assert len(list((recorded / "out").iterdir())) == 1
    capsys.readouterr()
    assert main(["export", "first", "1", "--min-accuracy", "0"]) == 2
    assert "not both" in capsys.readouterr().err
