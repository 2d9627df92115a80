"""Which study a command line begins or goes on with."""

from __future__ import annotations

import pytest
import yaml

import tuner
from search.command import take
from search.folder import StudyError
from search.ledger import LEDGER, Ledger


@pytest.fixture
def taken(tmp_path):
    """The folder and flags of a command line in a results folder of the test's own; folders are let go."""
    open_ones = []

    def make(*words):
        parser = tuner._parser()
        words = [*words, "--results", str(tmp_path)]
        folder, arguments = take(parser.parse_args(words), words, parser)
        open_ones.append(folder)
        folder.keep()
        return folder, arguments

    yield make
    for folder in open_ones:
        folder.discard()


def begun(taken, name, *words, interrupted=None, resolved=None):
    folder, _ = taken("--space", "smoke", "--name", name, *words)
    if resolved:
        about = {**yaml.safe_load(folder.study_yaml.read_text()), "resolved": resolved}
        folder.study_yaml.write_text(yaml.safe_dump(about))
    if interrupted is not None:
        Ledger(folder.path / LEDGER).append("front", interrupted=interrupted)
    folder.discard()


def test_a_study_goes_on_with_the_flags_it_began_with(taken):
    begun(taken, "one", "--trials", "9", "--set", "budget.images=100", "--quiet", "--tracking-uri", "http://a:1")
    folder, arguments = taken("--resume", "one", "--trials", "12", "--set", "keep=all")
    assert folder.resumed
    assert (arguments.space, arguments.trials, arguments.tracking_uri) == ("smoke", 12, "http://a:1")
    assert arguments.set == ["budget.images=100", "keep=all"]
    assert not arguments.quiet


def test_extending_adds_to_what_was_planned(taken):
    begun(taken, "one", resolved={"budget": {"trials": 4}})
    assert taken("--resume", "one", "--extend", "3")[1].trials == 7


@pytest.mark.parametrize("words", [["--space", "smoke", "--extend", "3"], ["--resume", "one", "--extend", "0"]])
def test_extending_needs_a_study_and_a_number(taken, words):
    begun(taken, "one")
    with pytest.raises(StudyError, match=r"extend = \d: must be a whole number from 1, with --resume NAME"):
        taken(*words)


def test_a_study_that_is_not_there_is_refused(taken):
    with pytest.raises(StudyError, match="resume = 'none': there is no study in"):
        taken("--resume", "none")


def test_a_study_that_runs_is_refused(taken):
    folder, _ = taken("--space", "smoke", "--name", "one")
    with pytest.raises(StudyError, match="resume = 'one': its search still runs"):
        taken("--resume", "one")
    folder.discard()
    taken("--resume", "one")


def test_auto_goes_on_with_the_newest_that_has_not_ended(taken, tmp_path):
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "study.yaml").write_text("a: [")
    begun(taken, "a", interrupted=True)
    begun(taken, "b", interrupted=False)
    folder, _ = taken("--resume", "auto", "--space", "smoke")
    assert (folder.name, folder.resumed) == ("a", True)


def test_auto_begins_where_nothing_is_unfinished(taken):
    begun(taken, "b", interrupted=False)
    folder, _ = taken("--resume", "auto", "--space", "smoke", "--name", "c")
    assert (folder.name, folder.resumed) == ("c", False)
    folder.discard()
    folder, _ = taken("--resume", "auto", "--space", "smoke", "--name", "c")
    assert (folder.name, folder.resumed) == ("c", True), "the same line in a job that is queued again"


def test_auto_without_a_space_says_so(taken):
    with pytest.raises(StudyError, match="--space says what to begin"):
        taken("--resume", "auto")


def test_a_taken_name_says_how_to_go_on(taken):
    begun(taken, "one")
    with pytest.raises(StudyError, match="exists; choose another --name, or --resume one to go on with it"):
        taken("--space", "smoke", "--name", "one")
