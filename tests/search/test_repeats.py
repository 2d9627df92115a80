"""Front members by other seeds: what is trained, what is kept, what it says of the front."""

from __future__ import annotations

import itertools

import pytest
from mlflow import MlflowClient

from search.delivery import TrackingCard
from search.front import Front, Member
from search.ledger import LEDGER, Ledger, entries
from search.recorder import Recorder
from search.repeats import Known, jobs_of, known_repeats, repeated, with_repeats
from search.tracking import Tracking

WAYS = {"accuracy": "max", "size": "min"}


class Told:
    """The part of the record that repeats need: a ledger, and lines in it."""

    def __init__(self, folder):
        self.ledger = Ledger(folder / LEDGER)

    def repeat(self, **facts):
        self.ledger.append("repeat", **facts)


@pytest.fixture
def told(tmp_path):
    made = Told(tmp_path)
    for trial in ("a", "b"):
        made.ledger.append("start", trial=trial, config={"method": "deadzone", "seed": 7, "point": {"bits": 4}})
    return made


def front(folder, *numbers):
    """Members from (trial, epoch, accuracy, size)."""
    members = [
        Member(
            trial_id=trial,
            epoch=epoch,
            metrics={"epoch": epoch, "accuracy": accuracy, "size": size},
            config={},
            artifact=f"artifacts/{trial}-e{epoch:03d}.rf",
        )
        for trial, epoch, accuracy, size in numbers
    ]
    return Front(members, WAYS, {}, folder)


def known_of(*lines):
    """From (trial, seed, {epoch: (accuracy, size)}, epochs asked for)."""
    known = Known()
    for trial, seed, found, epochs in lines:
        metrics = [{"epoch": e, "accuracy": a, "size": s} for e, (a, s) in found.items()]
        known.add({"trial": trial, "seed": seed, "epochs": epochs, "metrics": metrics})
    return known


def trainer(accuracy=0.9, stop=None):
    """In place of a cluster: jobs done from the last to the first, each network a little worse than the last."""
    asked = []

    def train(jobs):
        for number, job in reversed(list(enumerate(jobs))):
            if stop is not None and len(asked) == stop[0]:
                raise stop[1]
            asked.append(job)
            yield number, [{"epoch": epoch, "accuracy": accuracy, "size": 100.0} for epoch in job.epochs]

    return train, asked


def test_a_training_a_trial_and_seed_for_all_its_members(told, tmp_path):
    both = front(tmp_path, ("a", 2, 0.9, 200), ("b", 1, 0.8, 100), ("a", 0, 0.7, 50))
    jobs = jobs_of(both, known_repeats(e for e, _ in entries(told.ledger.path)), 3)
    assert [(job.trial_id, job.epochs) for job in jobs] == [("a", (0, 2))] * 3 + [("b", (1,))] * 3
    assert len({job.seed for job in jobs}) == 3
    assert 7 not in {job.seed for job in jobs}
    assert jobs[0].config == {"method": "deadzone", "seed": jobs[0].seed, "point": {"bits": 4}}


def test_repeats_are_on_disk_as_they_come_and_are_not_made_again(told, tmp_path):
    one, (train, asked) = front(tmp_path, ("a", 2, 0.9, 200)), trainer()
    said = []
    first = repeated(one, 2, train, told, said.append)
    assert len(asked) == 2
    (facts,) = [m.repeats for m in first]
    assert facts["seeds"] == 2
    assert [e["event"] for e, _ in entries(told.ledger.path)][2:] == ["repeat", "repeat"]
    again = repeated(one, 2, train, told, said.append)
    assert len(asked) == 2
    assert [m.repeats for m in again] == [facts]
    repeated(one, 3, train, told, said.append)
    assert len(asked) == 3
    assert next(m.repeats for m in repeated(one, 0, train, told, said.append))["seeds"] == 3


@pytest.mark.parametrize(
    ("error", "interrupted", "word"),
    [(KeyboardInterrupt(), True, "interrupted: 3 of 4 repeats are left"), (MemoryError("no room"), False, "no room")],
)
def test_what_was_done_counts_whatever_happens_then(told, tmp_path, error, interrupted, word):
    both, said = front(tmp_path, ("a", 2, 0.9, 200), ("b", 1, 0.8, 100)), []
    train, _ = trainer(stop=(1, error))
    left = repeated(both, 2, train, told, said.append)
    assert left.interrupted is interrupted
    assert word in " ".join(said)
    train, asked = trainer()
    done = repeated(both, 2, train, told, said.append)
    assert len(asked) == 3
    assert all(m.repeats["seeds"] == 2 for m in done)


def test_one_that_cannot_be_trained_stops_no_other(told, tmp_path):
    both, said = front(tmp_path, ("a", 2, 0.9, 200), ("b", 1, 0.8, 100)), []

    def train(jobs):
        for number, job in enumerate(jobs):
            found = [{"epoch": epoch, "accuracy": 0.9, "size": 100.0} for epoch in job.epochs]
            yield number, MemoryError("no room\nat all") if number == 1 else found

    left = repeated(both, 2, train, told, said.append)
    assert not left.interrupted
    assert f"no repeat of trial a, seed {7 + 2 * 1_000_003}: no room" in said
    assert f"some failed: 1 of 4 repeats are left; --resume {tmp_path.name} makes them" in said
    assert [m.repeats.get("seeds") for m in left] == [None, 2]
    train, asked = trainer()
    repeated(both, 2, train, told, said.append)
    assert [(job.trial_id, job.seed) for job in asked] == [("a", 7 + 2 * 1_000_003)]


def test_what_there_was_no_time_for_is_left_for_later(told, tmp_path):
    one, said = front(tmp_path, ("a", 2, 0.9, 200)), []
    left = repeated(one, 3, lambda jobs: iter([(0, [{"epoch": 2, "accuracy": 0.9, "size": 100.0}])]), told, said.append)
    assert not left.interrupted
    assert f"the time is up: 2 of 3 repeats are left; --resume {tmp_path.name} makes them" in said


def test_mean_spread_and_chance(tmp_path):
    two = front(tmp_path, ("lucky", 1, 0.95, 300), ("solid", 1, 0.90, 200))
    known = known_of(
        *[("lucky", n, {1: (a, 300)}, [1]) for n, a in enumerate((0.80, 0.82, 0.84))],
        *[("solid", n, {1: (a, 200)}, [1]) for n, a in enumerate((0.89, 0.90, 0.91))],
    )
    lucky, solid = [m.repeats for m in with_repeats(two, known)]
    assert lucky["accuracy"] == {"mean": pytest.approx(0.82), "std": pytest.approx(0.02)}
    assert lucky["size"] == {"mean": 300, "std": 0}
    assert (lucky["on_front"], lucky["luck"], lucky["seeds"]) == (0, True, 3)
    assert (solid["on_front"], solid["luck"]) == (1, False)


def test_a_chance_is_that_of_every_bootstrap_sample(tmp_path):
    """Two members of one size: by all 27 x 27 pairs of samples, without drawing."""
    ones, others = (0.90, 0.92, 0.97), (0.91, 0.93, 0.935)
    two = front(tmp_path, ("a", 1, 0.95, 200), ("b", 1, 0.94, 200))
    known = known_of(
        *[("a", n, {1: (a, 200)}, [1]) for n, a in enumerate(ones)],
        *[("b", n, {1: (a, 200)}, [1]) for n, a in enumerate(others)],
    )
    means = [[sum(pick) / 3 for pick in itertools.product(some, repeat=3)] for some in (ones, others)]
    wins = sum(a >= b - 1e-12 for a in means[0] for b in means[1]) / 27**2
    assert with_repeats(two, known)[0].repeats["on_front"] == pytest.approx(wins, abs=0.04)


def test_repeats_that_diverge_are_no_proof(tmp_path):
    two = front(tmp_path, ("a", 2, 0.95, 300), ("a", 1, 0.90, 200), ("b", 1, 0.8, 100))
    known = known_of(
        ("a", 1, {1: (0.9, 200)}, [1, 2]), ("a", 2, {1: (0.9, 200)}, [1, 2]), ("b", 1, {1: (0.8, 100)}, [1])
    )
    late, early, once = [m.repeats for m in with_repeats(two, known)]
    assert late == {"seeds": 2, "on_front": 0.0, "luck": True}
    assert (early["on_front"], early["luck"]) == (1.0, False)
    assert once == {}


def test_front_json_marks_luck(tmp_path):
    known = known_of(*[("a", n, {1: (0.9, 200)}, [1]) for n in range(2)])
    marked = with_repeats(front(tmp_path, ("a", 1, 0.95, 200)), known)
    assert '"luck": false' in marked.json()
    assert "repeats" not in front(tmp_path, ("a", 1, 0.95, 200)).json()


@pytest.mark.slow
def test_a_repeat_is_a_child_run_of_its_own_kind(record_file, tmp_path, make_trial):
    uri, said = f"sqlite:///{record_file}", []
    card = TrackingCard("repeats", "of-repeats", (tmp_path / "mlartifacts").as_uri())
    tracking = Tracking(Ledger(tmp_path / LEDGER), Recorder(tmp_path, uri, card, said.append))
    tracking.expect(["accuracy", "size"], 2, {"data": "digits"})
    tracking.begin({}, {"kind": "study"}, [])
    tracking.on_trial_start(0, [], make_trial("a"))
    one = front(tmp_path, ("a", 2, 0.9, 200))
    marked = repeated(one, 2, trainer()[0], tracking, said.append)
    tracking.finish(marked, [], 2)
    assert tracking.recorder.close(120) == 0
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("of-repeats").experiment_id])
    repeats = [run for run in runs if run.data.tags["kind"] == "repeat"]
    assert {run.data.tags["repeats"] for run in repeats} == {"a"}
    assert len({run.data.params["seed"] for run in repeats}) == 2
    for run in repeats:
        assert (run.info.status, run.data.tags["end"], run.data.metrics["accuracy"]) == ("FINISHED", "done", 0.9)
        assert "pareto" not in run.data.tags
    (trial,) = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert trial.data.tags["pareto"] == "true"
    assert trial.data.params["seed"] == "0"
