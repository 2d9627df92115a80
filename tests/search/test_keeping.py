import pytest

from search.folder import ARTIFACTS
from search.front import Member
from search.keeping import KEEP, Keeping


def _member(trial, epoch, accuracy, rate):
    metrics = {"accuracy": accuracy, "rate": rate, "epoch": epoch}
    return Member(
        trial_id=trial, epoch=epoch, metrics=metrics, config={}, artifact=f"{ARTIFACTS}/{trial}-e{epoch:03d}.rf"
    )


def _fittest(members):
    def beaten(m, by):
        worse = m.metrics["accuracy"] <= by.metrics["accuracy"] and m.metrics["rate"] >= by.metrics["rate"]
        return worse and by is not m

    return [m for m in members if not any(beaten(m, by) for by in members)]


BEST, OWN, WORSE = _member("a", 1, 0.9, 1.0), _member("b", 1, 0.8, 2.0), _member("b", 2, 0.7, 3.0)
LEFT = {"front": {"a-e001.rf"}, "trials": {"a-e001.rf", "b-e001.rf"}, "all": {"a-e001.rf", "b-e001.rf", "b-e002.rf"}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ARTIFACTS).mkdir()
    for member in (BEST, OWN, WORSE):
        (tmp_path / member.artifact).write_bytes(b"network")
    return tmp_path


def _left(folder):
    return {path.name for path in (folder / ARTIFACTS).iterdir()}


@pytest.mark.parametrize("keep", KEEP)
def test_what_outlives_the_search(folder, keep):
    keeping = Keeping(folder, keep, _fittest)
    keeping.settle(BEST, [BEST], [])
    for member in (OWN, WORSE):
        keeping.settle(member, [BEST], [member])
    assert _left(folder) == LEFT[keep]
    (folder / ARTIFACTS / ".half.tmp").write_bytes(b"")
    keeping.sweep([BEST])
    assert _left(folder) == LEFT[keep]


@pytest.mark.parametrize("keep", ["front", "trials"])
def test_files_of_nobody_are_swept(folder, keep):
    keeping = Keeping(folder, keep, _fittest)
    keeping.sweep([BEST])
    assert _left(folder) == {"a-e001.rf"}


def test_a_trial_that_repeats_an_epoch_keeps_its_file(folder):
    keeping = Keeping(folder, "trials", _fittest)
    keeping.settle(OWN, [BEST], [OWN])
    keeping.settle(OWN, [BEST], [OWN])
    assert "b-e001.rf" in _left(folder)
