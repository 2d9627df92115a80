from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version

import pytest
import yaml

from search import record
from search.record import commit, study_tags, study_text, versions


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, in which ``record`` believes to lie."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    room = tmp_path / "search"
    room.mkdir()
    (room / "record.py").write_text("one\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(record, "__file__", str(room / "record.py"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    return room / "record.py", head.stdout.strip()


def test_versions_are_of_what_makes_a_result():
    found = versions()
    assert found["ray"] == version("ray")
    assert set(found) == {"python", "ratefront", "torch", "ray", "optuna", "mlflow", "numpy"}


def test_a_package_that_is_not_there_is_named_so(monkeypatch):
    monkeypatch.setattr(record, "_PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"


def test_the_commit_is_that_of_the_checkout(checkout):
    assert commit() == checkout[1]


def test_a_changed_checkout_has_a_plus(checkout):
    file, head = checkout
    file.write_text("two\n")
    assert commit() == head + "+"


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(record, "__file__", str(tmp_path / "record.py"))
    assert commit() == ""


def test_the_study_text_holds_the_resolved_space(smoke_space):
    text = study_text(smoke_space(max_bits=5), {"command": "tuner.py --space smoke"}, {"split": "holdout-300"})
    read = yaml.safe_load(text)
    assert read["space"] == "smoke"
    assert read["command"] == "tuner.py --space smoke"
    assert read["split"] == "holdout-300"
    assert read["versions"] == versions()
    assert read["commit"] == commit()
    assert read["resolved"]["fixed"] == {"max_bits": 5}
    assert read["resolved"]["budget"]["epochs"] == 2
    assert read["resolved"]["optimizer"]["schedule"] == "cosine"
    assert list(read["resolved"]["search"]) == ["init_deadzone_logit", "dz.weight_decay"]


def test_the_tags_of_the_parent_run(smoke_space):
    tags = study_tags(smoke_space())
    expected = {"kind": "study", "space": "smoke", "method": "deadzone", "network": "mlp"}
    assert expected.items() <= tags.items()
    assert tags["version.torch"] == version("torch")
    assert all(isinstance(value, str) for value in tags.values())
