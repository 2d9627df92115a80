"""Whatever a YAML holds: it is searched, or refused in one line with exit code 2."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tuner
from search.samplers import choose, make_sampler
from search.searcher import sample
from search_spaces import Space, SpaceError
from tests.search_spaces.mutating import TEXTS, mutated_spaces, mutated_texts

ANY = st.one_of(mutated_spaces(), mutated_texts())
SMOKE = st.one_of(mutated_spaces(["smoke"]), mutated_texts(["smoke"]))


def few(examples):
    return settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )


def with_top(**more):
    return yaml.safe_dump({**yaml.safe_load(TEXTS["smoke"]), **more}, sort_keys=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile") / "space.yaml"


def is_read_or_refused(file, text):
    file.write_text(text, encoding="utf-8")
    try:
        space = Space.load(file)
    except SpaceError as error:
        (line,) = str(error).splitlines()
        assert line.startswith("space.yaml")
        assert len(line) < 500
        return
    make_sampler(choose(space).name, space)
    config = json.loads(json.dumps(space.config(sample(space))))
    assert config["epochs"] == space.file.budget.epochs
    assert json.dumps(space.resolved())


@few(100)
@given(ANY)
@example(with_top(float={"x": 1}))  # a key that is called as a branch of pydantic's union
@example(with_top(search={"x" * 999: 1}))
def test_a_mutated_space_is_read_or_refused_in_one_line(file, text):
    is_read_or_refused(file, text)


@pytest.mark.slow
@few(300)
@given(ANY)
def test_many_mutated_spaces_are_read_or_refused_in_one_line(file, text):
    is_read_or_refused(file, text)


def is_shown_or_refused(file, text, capsys, monkeypatch):
    """The command itself, which reads the data and builds the dense network."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    file.write_text(text, encoding="utf-8")
    code = tuner.main(["--space", str(file), "--dry-run", "--data-root", str(file.parent)])
    out, err = capsys.readouterr()
    assert code in (0, 2)
    assert bool(err) == (code == 2)
    if code:
        (line,) = err.splitlines()
        assert line.startswith("ratefront: ")
        assert out == ""


@few(30)
@given(text=SMOKE)
@example(text=with_top(task={"network": "mlp", "data": "digits", "batch_size": 10**20}))
@example(text=with_top(resources={"cpu": 1e300}))
@example(text=with_top(task={"network": {"name": "mlp", "hidden": [10**20]}, "data": "digits"}))
def test_the_command_shows_a_mutated_space_or_refuses_it(file, capsys, monkeypatch, text):
    is_shown_or_refused(file, text, capsys, monkeypatch)


@pytest.mark.slow
@few(80)
@given(text=SMOKE)
def test_the_command_shows_many_mutated_spaces_or_refuses_them(file, capsys, monkeypatch, text):
    is_shown_or_refused(file, text, capsys, monkeypatch)
