"""Reading a study's folder, and every way in which it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.studies import BadStudy, open_study, origin_of, pick

ROWS = [{"artifact": f"artifacts/ab_{n:05d}-e00{n}.rf", "accuracy": 0.9} for n in range(3)]


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "results" / "one"
    folder.mkdir(parents=True)
    (folder / "front.json").write_text(json.dumps(ROWS))
    about = "data_used: digits\nsplit: holdout-300\nresolved: {task: {network: mlp, data: digits}}\n"
    (folder / "study.yaml").write_text(about)
    return folder


def said(call, *arguments):
    """The one line of a refusal."""
    with pytest.raises(BadStudy) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_study_is_found_by_its_folder_and_by_its_name(study, tmp_path):
    for word, results in ((str(study), Path("nowhere")), ("one", tmp_path / "results")):
        points = open_study(word, results)
        assert [p.number for p in points] == [1, 2, 3]
        assert [p.name for p in points] == ["ab_00000-e000", "ab_00001-e001", "ab_00002-e002"]
        assert points[2].file == study / "artifacts/ab_00002-e002.rf"


def test_a_folder_of_the_same_name_that_is_no_study_is_passed_over(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    assert open_study("one", Path("results"))[0].folder == Path("results/one")


def test_points_are_picked_by_number_and_by_name(study):
    points = open_study(str(study), Path("results"))
    assert pick(points, "1") is pick(points, "ab_00000-e000") is points[0]
    assert pick(points, "3") is points[2]
    for word in ("0", "4", "-1", "ab", "ab_00000-e000.rf", ""):
        rule = "must be a number from 1 to 3, or one of ab_00000-e000, ab_00001-e001, ab_00002-e002"
        assert said(pick, points, word) == f"point = {word!r}: {rule}"


def test_a_study_that_is_not_there_is_named_with_those_that_are(study, tmp_path):
    results = tmp_path / "results"
    assert said(open_study, "two", results) == f"study = 'two': no such folder, nor under {results}; valid: one"
    assert said(open_study, "two", tmp_path / "x") == f"study = 'two': no such folder, nor under {tmp_path / 'x'}"
    assert said(open_study, str(study / "front.json"), results).endswith("valid: one")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("[", "is damaged (Expecting value"),
        ("\N{POUND SIGN}".encode("latin-1"), "is damaged ("),
        ("[" * 100_000, "is damaged ("),
        ("{}", "must be a list of members, at least one"),
        ("[]", "must be a list of members, at least one"),
        ("[3]", "member 1: must be an object with artifact: artifacts/<name>.rf"),
        (
            '[{"artifact": "artifacts/a.rf"}, {"artifact": "a.rf"}]',
            "member 2: must be an object with artifact: artifacts/<name>.rf",
        ),
    ],
)
def test_a_front_that_is_none_is_one_line(study, text, message):
    front = study / "front.json"
    front.unlink()
    if text is not None:
        front.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert said(open_study, str(study), Path("results")).startswith(f"{front}: {message}")


def test_numbers_of_a_row(study):
    point = open_study(str(study), Path("results"))[1]
    assert point.number_of("accuracy") == 0.9
    expected = f"{study / 'front.json'}: member 2: size_bytes = None: must be a number"
    assert said(point.number_of, "size_bytes") == expected


def test_the_origin_is_in_study_yaml(study):
    origin = origin_of(study)
    assert (origin.data, origin.split, origin.task) == ("digits", "holdout-300", {"network": "mlp", "data": "digits"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("a: [", "is damaged ("),
        ("a: !!python/object:os.system 3", "is damaged ("),
        ("- 3", "says nothing of resolved.task; the study never began"),
        ("command: tuner.py", "says nothing of resolved.task; the study never began"),
        ("resolved: {task: mlp}", "says nothing of resolved.task; the study never began"),
        ("resolved: {task: {data: digits}}", "data_used = None: must be a text"),
        ("data_used: digits\nsplit: 3\nresolved: {task: {data: digits}}", "split = 3: must be a text"),
        ("data_used: digits\nsplit: x-3\nresolved: {task: {data: 1}}", "resolved.task.data = 1: must be a text"),
    ],
)
def test_a_study_yaml_that_says_too_little_is_one_line(study, text, message):
    path = study / "study.yaml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert said(origin_of, study).startswith(f"{path}: {message}")
