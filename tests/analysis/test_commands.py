"""front, compare and pick as they are given: what they print, and their exit codes."""

from __future__ import annotations

import csv
import io
import json

import pytest

from analysis.__main__ import main
from tasks import load


@pytest.fixture
def ask(recorded, capsys):
    """(exit code, standard output) of a command that has nothing to complain of."""

    def call(*words):
        code = main(list(words))
        out, err = capsys.readouterr()
        assert err == ""
        return code, out

    return call


def rows_of(folder):
    return json.loads((folder / "results/first/front.json").read_text())


def test_front_in_three_forms(ask, recorded):
    expected = [(row["trial_id"], row["epoch"], row["accuracy"]) for row in rows_of(recorded)]
    _, text = ask("front", "first", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["trial_id"], int(r["epoch"]), float(r["accuracy"])) for r in rows] == expected
    _, text = ask("front", "first", "--format", "json")
    assert [(r["trial_id"], r["epoch"], r["accuracy"]) for r in json.loads(text)] == expected
    assert {"method", "max_bits", "artifact", "number"} <= set(json.loads(text)[0])
    _, text = ask("front", "first")
    head, _, *lines = text.splitlines()
    assert head.split()[:6] == ["#", "point", "accuracy", "test", "bits/w", "bytes"]
    assert [line.split()[1] for line in lines] == [f"{trial}-e{epoch:03d}" for trial, epoch, _ in expected]


def test_pick_then_verify(ask, recorded):
    code, text = ask("pick", "first", "--knee", "--json")
    picked = json.loads(text)
    assert code == 0
    code, text = ask("verify", "first", picked["point"])
    assert code == 0
    assert text.splitlines()[-1] == "verified: 1 network"
    file = recorded / "results/first" / picked["metrics"]["artifact"]
    assert file.stat().st_size == picked["metrics"]["size"]
    assert sum(p.numel() for p in load(str(file)).parameters()) > 0


def test_pick_for_a_person_is_one_line(ask, recorded):
    best = rows_of(recorded)[0]
    code, text = ask("pick", "first", "--max-size", "1MB")
    assert code == 0
    assert text.startswith(f"first {best['trial_id']}-e{best['epoch']:03d}: accuracy {best['accuracy']:.2%}")
    assert text.count("\n") == 1


def test_where_nothing_fits_it_is_exit_code_1(recorded, capsys):
    assert main(["pick", "first", "--max-size", "2B"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("ratefront: no network of first has at most 2 bytes; nearest is ")


def test_compare_in_three_forms_and_a_picture(ask, recorded):
    _, text = ask("compare", "first", "second", "--size", "6kB", "--png", "fronts.png")
    assert text.splitlines()[0] == "digits, split holdout-300, input 1x8x8: accuracy max, rate min"
    assert "best <= 6,000 B" in text
    assert "joint front" in text
    assert (recorded / "fronts.png").read_bytes().startswith(b"\x89PNG")
    _, text = ask("compare", "first", "second", "--format", "csv", "--accuracy", "0.5")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["study"] for row in rows] == ["first", "second"]
    assert [row["trials"] for row in rows] == ["2", "1"]
    assert all("size_at_0.5" in row for row in rows)
    _, text = ask("compare", "first", "second", "--format", "json")
    (group,) = json.loads(text)
    assert [row["study"] for row in group["studies"]] == ["first", "second"]
    assert [row["method"] for row in group["shares"]] == ["deadzone"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["front", "gone"], "study = 'gone': not in MLflow at "),
        (["compare", "first", "gone"], "study = 'gone': not in MLflow at "),
        (["compare", "first", "--png", "gone/x.png"], "png = 'gone/x.png': cannot be written"),
        (["compare", "first", "--png", "x.strange"], "png = 'x.strange': cannot be written"),
        (["pick", "first"], "pick: give --min-accuracy, --max-size, --max-gops or --knee"),
        (["front", "first", "--experiment", "other"], "experiment = 'other': not at "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(recorded, capsys, words, message):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"ratefront: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pick", "first", "--max-size", "4apples"], "--max-size: '4apples': must be a size above 0, such as 800B"),
        (["pick", "first", "--min-accuracy", "91"], "--min-accuracy: '91': must be a number from 0 to 1"),
        (["pick", "first", "--min-accuracy", "nan"], "--min-accuracy: 'nan': must be a number from 0 to 1"),
        (["pick", "first", "--max-gops", "0"], "--max-gops: '0': must be a number above 0"),
        (["compare"], "the following arguments are required: STUDY"),
        (["front", "first", "--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_flags_that_do_not_parse(capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
