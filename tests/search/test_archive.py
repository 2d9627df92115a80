from __future__ import annotations

import csv
import io
import json
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import NEAR_CHANCE, Scale
from search.archive import METRIC_NAMES, Archive, measured
from search.folder import ARTIFACTS
from tests.search.conftest import OBJECTIVES

CHANCE = 0.1
NETWORKS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.149, 0.151, 0.5, 0.6, 0.9, 0.95]), st.integers(1, 6).map(float)), max_size=14
)


def offer(archive, number, accuracy, rate):
    """One network with its file."""
    file = f"t{number}-e001.rf"
    (archive.folder / ARTIFACTS / file).write_bytes(b"x" * number)
    metrics = {"epoch": 1, "accuracy": accuracy, "rate": rate, "size": int(1000 * rate)}
    return archive.add(f"t{number}", metrics, file, {})


def expected_front(networks):
    """Numbers of the networks that no other dominates, the first of equals, none near chance."""
    able = [(i, n) for i, n in enumerate(networks) if n[0] >= CHANCE + NEAR_CHANCE]
    worse = {i for i, (a, r) in able for _, (b, s) in able if (b, -s) != (a, -r) and b >= a and s <= r}
    twins = {i for i, n in able for j, m in able if m == n and j < i}
    return {f"t{i}" for i, _ in able} - {f"t{i}" for i in worse | twins}


@given(NETWORKS, st.sampled_from([OBJECTIVES, {"rate": "min", "accuracy": "max"}]))
def test_the_front_is_right_whatever_the_order(networks, objectives):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ARTIFACTS).mkdir()
        scale = Scale(list(objectives), {"accuracy": 0.95, "rate": 32.0}, CHANCE)
        archive = Archive(Path(folder), objectives, scale, epochs=2)
        for number, network in enumerate(networks):
            stood = offer(archive, number, *network)
            assert stood == (f"t{number}" in {m.trial_id for m in archive.members})
        names = {m.trial_id for m in archive.members}
        assert names == expected_front(networks)
        files = {path.name.partition("-")[0] for path in (Path(folder) / ARTIFACTS).iterdir()}
        assert files == names
        assert archive.networks == len(networks)
        assert archive.hypervolume == pytest.approx(scale.hypervolume([m.metrics for m in archive.members]))


def test_files_of_dominated_networks_are_removed(archive):
    assert offer(archive, 0, 0.8, 4.0)
    assert not offer(archive, 1, 0.7, 5.0)
    assert not (archive.folder / ARTIFACTS / "t1-e001.rf").exists()
    assert offer(archive, 2, 0.9, 3.0)
    assert [path.name for path in (archive.folder / ARTIFACTS).iterdir()] == ["t2-e001.rf"]


@pytest.mark.parametrize(("accuracy", "stands"), [(0.149, False), (0.151, True), (0.1, False)])
def test_networks_near_chance_are_on_no_front(archive, accuracy, stands):
    assert offer(archive, 0, accuracy, 1.0) is stands
    assert len(archive.members) == int(stands)


def test_a_network_near_chance_pushes_nobody_off(tmp_path):
    (tmp_path / ARTIFACTS).mkdir()
    objectives = {"rate": "min", "gops": "min"}
    archive = Archive(tmp_path, objectives, Scale(list(objectives), {"rate": 32.0, "gops": 1.0}, CHANCE), epochs=2)
    good = {"epoch": 1, "accuracy": 0.9, "rate": 4.0, "gops": 0.5, "size": 9}
    assert archive.add("good", good, "good.rf", {})
    assert not archive.add("guess", {**good, "accuracy": 0.1, "rate": 1.0, "gops": 0.1}, "guess.rf", {})
    assert [m.trial_id for m in archive.members] == ["good"]


def test_a_trial_that_repeats_an_epoch_keeps_its_file(archive):
    """Ray restarts a trial whose actor died from its last checkpoint, and an epoch is reported a second time."""
    assert offer(archive, 0, 0.9, 3.0)
    offer(archive, 0, 0.9, 3.0)
    (member,) = archive.members
    assert (archive.folder / member.artifact).exists()


def test_a_repeated_epoch_that_came_out_otherwise_counts_as_it_is_now(archive):
    offer(archive, 0, 0.9, 3.0)
    offer(archive, 0, 0.8, 3.0)
    (member,) = archive.members
    assert member.metrics["accuracy"] == 0.8
    assert (archive.folder / member.artifact).exists()
    offer(archive, 1, 0.85, 2.0)
    offer(archive, 0, 0.8, 3.0)
    assert [m.trial_id for m in archive.members] == ["t1"]
    assert not (archive.folder / member.artifact).exists()


def test_the_front_lists_the_most_accurate_first(archive):
    for number, (accuracy, rate) in enumerate([(0.7, 1.0), (0.9, 3.0), (0.8, 2.0)]):
        offer(archive, number, accuracy, rate)
    front = archive.front({"accuracy": 0.95})
    assert [m.trial_id for m in front] == ["t1", "t2", "t0"]
    assert front.dense == {"accuracy": 0.95}
    assert front.folder == archive.folder
    assert front.hypervolume == archive.hypervolume > 0


def test_sweep_removes_what_belongs_to_no_member(archive):
    offer(archive, 0, 0.9, 3.0)
    (archive.folder / ARTIFACTS / "cut-off-e002.rf").touch()
    archive.sweep()
    assert [path.name for path in (archive.folder / ARTIFACTS).iterdir()] == ["t0-e001.rf"]


def test_results_become_members_and_front_json(archive, make_trial, report):
    trial = make_trial()
    archive.on_trial_start(0, [trial], trial)
    assert archive.trials == {"t1": {"end": "running", "epoch": 0, "config": {"max_bits": 4}}}
    first = report(1, 0.8, 3.0, epoch_0=report(0, 0.7, 2.0))
    archive.on_trial_result(0, [trial], trial, first)
    rows = json.loads((archive.folder / "front.json").read_text())
    assert [(r["trial_id"], r["epoch"], r["accuracy"], r["config"]) for r in rows] == [
        ("t1", 1, 0.8, {"max_bits": 4}),
        ("t1", 0, 0.7, {"max_bits": 4}),
    ]
    assert rows[0]["dead_zone"] == 0.25
    assert archive.trials["t1"]["epoch"] == 1


def test_a_member_keeps_how_its_accuracy_was_counted(archive, make_trial, report):
    trial, counts = make_trial(), [{"correct": n, "images": 10, "device": "cpu"} for n in (7, 8)]
    first = report(1, 0.8, 3.0, evaluation=counts[1], epoch_0=report(0, 0.7, 2.0, evaluation=counts[0]))
    archive.on_trial_result(0, [trial], trial, first)
    assert [m.evaluation for m in archive.front({})] == [counts[1], counts[0]]
    rows = json.loads((archive.folder / "front.json").read_text())
    assert [row["evaluation"] for row in rows] == [counts[1], counts[0]]
    assert "evaluation" not in archive.trials["t1"]["metrics"]
    assert "evaluation" not in archive.trials_csv()
    assert "evaluation" not in archive.front({}).csv()


def test_a_failed_result_is_no_network(archive, make_trial):
    trial = make_trial()
    failed = {"epoch": 1, "failed": True, "reason": "loss is nan", "done": True}
    archive.on_trial_result(0, [trial], trial, failed)
    assert archive.networks == 0
    assert archive.trials["t1"]["reason"] == "loss is nan"
    assert not (archive.folder / "front.json").exists()


def test_a_trial_that_failed_at_once_still_gives_its_untrained_network(archive, make_trial, report):
    trial = make_trial()
    failed = {"epoch": 0, "failed": True, "reason": "loss is nan", "epoch_0": report(0, 0.7, 2.0)}
    archive.on_trial_result(0, [trial], trial, failed)
    assert [(m.trial_id, m.epoch) for m in archive.members] == [("t1", 0)]
    assert archive.trials["t1"]["reason"] == "loss is nan"
    assert len(json.loads((archive.folder / "front.json").read_text())) == 1


def test_a_front_that_cannot_be_written_stops_nothing(archive, make_trial, report):
    (archive.folder / "front.json").mkdir()
    trial = make_trial()
    archive.on_trial_result(0, [trial], trial, report(1, 0.8, 3.0))
    assert len(archive.members) == 1


@pytest.mark.parametrize(
    ("last", "end"),
    [({"epoch": 2}, "done"), ({"epoch": 1}, "stopped"), ({"failed": True}, "failed"), ({}, "done")],
)
def test_how_trials_ended(archive, make_trial, report, ended, last, end):
    trial = ended(make_trial(), {**report(2), **last})
    archive.on_trial_complete(0, [trial], trial)
    assert archive.trials["t1"]["end"] == end


def test_a_crashed_trial_failed(archive, make_trial, report, ended):
    trial = ended(make_trial(), report(2))
    archive.on_trial_error(0, [trial], trial)
    assert archive.trials["t1"]["end"] == "failed"


def test_a_trial_that_crashed_before_its_first_result_failed(archive, make_trial):
    trial = make_trial()
    archive.on_trial_start(0, [trial], trial)
    archive.on_trial_error(0, [trial], trial)
    assert archive.trials["t1"]["end"] == "failed"


def test_trials_csv_has_a_line_a_trial(archive, make_trial, report, ended):
    good, bad = make_trial("t1", lr=0.1), make_trial("t2", extra="a, b")
    for trial in (good, bad):
        archive.on_trial_start(0, [], trial)
    archive.on_trial_result(0, [], good, report(2, 0.8))
    archive.on_trial_complete(0, [], ended(good, report(2, 0.8)))
    failed = {"epoch": 1, "failed": True, "reason": "loss is nan"}
    archive.on_trial_result(0, [], bad, failed)
    archive.on_trial_complete(0, [], ended(bad, failed))
    one, two = csv.DictReader(io.StringIO(archive.trials_csv()))
    assert (one["trial_id"], one["end"], one["epoch"], one["accuracy"], one["lr"]) == ("t1", "done", "2", "0.8", "0.1")
    assert (one["reason"], one["extra"]) == ("", "")
    assert (two["trial_id"], two["end"], two["epoch"], two["accuracy"]) == ("t2", "failed", "1", "")
    assert (two["reason"], two["extra"]) == ("loss is nan", "a, b")


def test_ray_keeps_it_with_the_experiment(archive, make_trial, report):
    trial = make_trial()
    archive.on_trial_result(0, [trial], trial, report(1, 0.8, 3.0))
    again = pickle.loads(pickle.dumps(archive))
    assert again.members == archive.members
    assert again.trials == archive.trials


def test_measured_leaves_out_what_ray_adds(report):
    metrics = measured({**report(1), "evaluation": {"correct": 9}, "pid": 7, "time_total_s": 3.0, "config": {}})
    assert {"pid", "config", "time_total_s", "artifact", "failed", "done", "measures"}.isdisjoint(metrics)
    assert metrics["accuracy"] == 0.9
    assert metrics["dead_zone"] == 0.25
    assert set(metrics) == {*METRIC_NAMES, "dead_zone"}


@pytest.fixture
def told(archive, make_trial, report, ended):
    """Two trials told to an archive, and the same as a ledger holds it."""
    lines = []
    for name, rates in (("t1", (3.0, 2.0)), ("t2", (4.0, 1.0))):
        trial = make_trial(name)
        lines.append({"event": "start", "trial": name, "config": trial.config})
        archive.on_trial_start(0, [], trial)
        for epoch, rate in enumerate(rates, 1):
            result = report(epoch, 0.5 + rate / 10, rate, name)
            (archive.folder / ARTIFACTS / result["artifact"]).write_bytes(b"x")
            one = {"metrics": measured(result), "artifact": result["artifact"], "evaluation": {}}
            lines.append({"event": "result", "trial": name, "epoch": epoch, "failed": False, "reports": [one]})
            archive.on_trial_result(0, [], trial, result)
        if name == "t1":
            lines.append({"event": "end", "trial": name, "end": "done"})
            archive.on_trial_complete(0, [], ended(trial, result))
    return lines


def another(archive):
    return Archive(archive.folder, OBJECTIVES, archive.scale, epochs=2)


def test_an_archive_is_known_again_from_the_ledger(archive, told):
    again = another(archive)
    again.replay(told)
    assert again.front({}).json() == archive.front({}).json()
    assert (again.trials, again.hypervolume, again.networks) == (archive.trials, archive.hypervolume, archive.networks)
    assert again.forget_lost() == []


def test_replaying_removes_no_file_that_a_later_line_wants(archive, told):
    """A trial that was killed repeats an epoch whose first file had left the front: the name is the same."""
    weak = {
        **told[1],
        "reports": [{**told[1]["reports"][0], "metrics": {**told[1]["reports"][0]["metrics"], "accuracy": 0.51}}],
    }
    again = another(archive)
    again.replay([told[0], weak, *told[2:], told[1]])
    assert {m.artifact for m in again.members} == {m.artifact for m in archive.members}
    assert again.forget_lost() == []


def test_a_member_whose_file_is_gone_is_no_member(archive, told):
    gone = archive.members[0].artifact
    (archive.folder / gone).unlink()
    again = another(archive)
    again.replay(told)
    assert again.forget_lost() == [gone]
    assert len(again.members) == len(archive.members) - 1
    assert again.hypervolume < archive.hypervolume
