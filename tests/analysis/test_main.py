"""The command: exit codes, one line for bad input, and a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import analysis
import tuner
from analysis.__main__ import main
from analysis.studies import open_study
from compress import decompress

ROOT = Path(analysis.__file__).parent.parent


def command(*words, cwd):
    """``python -m analysis`` as a user gives it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-m", "analysis", *map(str, words)],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "own"])
def test_a_new_process_counts_the_same(studies, name):
    done = command("verify", name, "--results", ".", cwd=studies)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("verified: ")


@pytest.mark.slow
def test_a_new_process_says_what_fails(studies, digits, rewrite):
    rewrite(digits, 1, correct=7, accuracy=7 / 300)
    done = command("verify", digits, cwd=studies)
    assert (done.returncode, done.stderr) == (1, "")
    assert "must be equal under equal conditions" in done.stdout


def test_help_starts_without_pytorch(studies):
    code = "import sys, analysis.__main__ as m\ntry: m.main(['verify', '--help'])\nfinally: assert 'torch' not in sys.modules"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.perf_counter() - began < 3
    assert "--batch-size" in done.stdout


@pytest.mark.parametrize("call", [main, tuner.main], ids=["python -m analysis", "ratefront"])
def test_export_by_either_name(studies, digits, capsys, call):
    assert call(["export", "digits", "2", "--results", "."]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    state = torch.load(out.splitlines()[-2], weights_only=True)
    assert list(state) == list(decompress(next((digits / "exports").glob("*/*.rf"))))
    assert out.splitlines()[0].split()[:4] == ["tensor", "shape", "bytes", "bits/w"]


def test_verify_of_one_point_by_name(studies, capsys):
    (point, *_) = open_study("digits", Path("."))
    assert tuner.main(["verify", "digits", point.name, "--results", "."]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "verified: 1 network"


def test_a_failure_is_exit_code_1(digits, capsys):
    next((digits / "artifacts").iterdir()).write_bytes(b"RFNT")
    assert main(["verify", str(digits)]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-1].startswith("NOT verified: 1 of ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify", "gone", "--results", "."], "study = 'gone': no such folder, nor under .; valid: digits, own"),
        (["verify", "digits/artifacts"], "digits/artifacts/front.json: cannot be read"),
        (["verify", "digits", "9", "--results", "."], "point = '9': must be a number from 1 to "),
        (["export", "digits", "--results", "."], "point = None: must be given, or one of --min-accuracy"),
        (["export", "digits", "x", "--results", "."], "point = 'x': must be a number from 1 to "),
        (
            ["export", "digits", "1", "--results", ".", "--out", "own_lines.py"],
            "out = 'own_lines.py': cannot be written",
        ),
        (
            ["verify", "digits", "--results", ".", "--device", "tpu"],
            "device = 'tpu': not on this machine, which has cpu",
        ),
        (["verify", "digits", "--results", ".", "--data-root", "~no-such-user/x"], "data root = '~no-such-user/x': "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(studies, capsys, words, message):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"ratefront: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: front|compare|pick|"),
        (["explain"], "invalid choice: 'explain'"),
        (["export"], "the following arguments are required: STUDY"),
        (["verify", "digits", "--threads", "0"], "--threads: '0': must be a whole number from 1 to"),
        (["verify", "digits", "--batch-size", "many"], "--batch-size: 'many': must be a whole number from 1 to"),
        (["verify", "digits", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_flags_that_do_not_parse_are_one_line_and_exit_code_2(capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ratefront: ")
    assert message in line
    assert line.endswith("; --help shows the flags")


@pytest.mark.slow
def test_a_search_by_ray_holds_in_a_process_of_its_own(smoke_study, tmp_path):
    done = command("verify", smoke_study.folder, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("ok    the same") == len(smoke_study.members)
    for number, row in enumerate(smoke_study.members, 1):
        assert row["evaluation"]["correct"] / row["evaluation"]["images"] == row["accuracy"]
        done = command("export", smoke_study.folder, number, "--out", tmp_path / str(number), cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"file      {row['size_bytes']:>11,} bytes" in done.stdout
