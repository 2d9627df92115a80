"""A study's folder is there before anything slow is, and gone when the study never began."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search.folder import ARTIFACTS, StudyError, StudyFolder, dated_name


def test_the_folder_says_at_once_what_was_asked(tmp_path):
    folder = StudyFolder(tmp_path / "results", "mine", "tuner.py --space smoke")
    assert yaml.safe_load(folder.study_yaml.read_text())["command"] == "tuner.py --space smoke"
    assert (folder.path / ARTIFACTS).is_dir()


def test_nothing_slow_is_imported_before_the_folder_is_taken():
    code = "import sys, search.folder; print([m for m in ('torch', 'ray', 'optuna', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_study_that_never_began_leaves_nothing(tmp_path):
    StudyFolder(tmp_path / "deep" / "results", "mine", "").discard()
    assert list(tmp_path.iterdir()) == []


def test_what_others_put_there_stays(tmp_path):
    folder = StudyFolder(tmp_path / "results", "mine", "")
    (folder.root / "mlflow.db").touch()
    folder.discard()
    assert [path.name for path in folder.root.iterdir()] == ["mlflow.db"]


def test_a_study_that_began_is_never_thrown_away(tmp_path):
    folder = StudyFolder(tmp_path, "mine", "")
    folder.keep()
    folder.discard()
    assert folder.study_yaml.exists()


def test_a_taken_name_is_refused_and_left_alone(tmp_path):
    StudyFolder(tmp_path, "mine", "first")
    with pytest.raises(StudyError, match=r"name = 'mine': .* exists; choose another --name"):
        StudyFolder(tmp_path, "mine", "second")
    assert "first" in (tmp_path / "mine" / "study.yaml").read_text()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_is_a_plain_folder_name(tmp_path, name):
    with pytest.raises(StudyError, match="must be a plain folder name"):
        StudyFolder(tmp_path, name, "")
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_named_after_its_space():
    assert dated_name(str(Path("somewhere") / "mine.yaml")).startswith("mine-20")


def test_a_study_that_goes_on_keeps_how_it_began(tmp_path):
    first = StudyFolder(tmp_path, "mine", "tuner.py --space smoke", space="smoke")
    first.keep()
    first.discard()
    (first.path / "study.journal").write_bytes(b"{}\n{torn")
    (first.path / "study.journal.lock").touch()
    again = StudyFolder(tmp_path, "mine", "tuner.py --resume mine", resume=True)
    assert again.previous == {"space": "smoke", "command": "tuner.py --space smoke", "began": first.began}
    assert again.head() == {"command": "tuner.py --space smoke", "began": first.began, "resumed": [again.began]}
    assert (first.path / "study.journal").read_bytes() == b"{}\n"
    assert not (first.path / "study.journal.lock").exists()
    again.discard()
    assert again.study_yaml.exists()


@pytest.mark.parametrize(("text", "line"), [("a: [", "cannot be read"), ("- 1", "is no study")])
def test_a_study_yaml_that_is_none_is_one_line(tmp_path, text, line):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.yaml").write_text(text)
    with pytest.raises(StudyError, match=line) as caught:
        StudyFolder(tmp_path, "mine", "", resume=True)
    assert "\n" not in str(caught.value)
