from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import cluster
from search.cluster import Cluster
from search_spaces.sections import Resources
from tasks import TaskError


@pytest.fixture
def paths(monkeypatch):
    """``PYTHONPATH`` and Ray's variables are put back."""
    monkeypatch.setenv("PYTHONPATH", "/before")
    for name in list(os.environ):
        if name.startswith(("RAY_", "TUNE_")):
            monkeypatch.setenv(name, os.environ[name])
    return monkeypatch


def test_workers_find_the_modules_of_the_driver(paths, tmp_path):
    paths.syspath_prepend(tmp_path)
    cluster._environment()
    found = os.environ["PYTHONPATH"].split(os.pathsep)
    assert found[:2] == [str(Path(cluster.__file__).parents[1]), str(tmp_path)]  # ours first, whatever lies there
    assert os.getcwd() in found
    assert found[-1] == "/before"
    assert not any(path.startswith((sys.prefix, sys.base_prefix)) for path in found)


def test_the_environment_is_made_once(paths):
    cluster._environment()
    once = os.environ["PYTHONPATH"]
    cluster._environment()
    assert os.environ["PYTHONPATH"] == once


def test_what_the_user_says_of_ray_wins(paths):
    paths.setenv("RAY_USAGE_STATS_ENABLED", "1")
    cluster._environment()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


@pytest.mark.parametrize(
    ("given", "environment", "local"), [(None, None, True), ("a:1", None, False), (None, "b:2", False)]
)
def test_a_ray_of_our_own_where_no_address_is_given(monkeypatch, given, environment, local):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    assert Cluster(given).local is local


def test_an_address_where_nobody_answers_is_refused_at_once(paths, closed_address):
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=f"no Ray cluster at {closed_address} \\(.*refused") as caught:
        Cluster(closed_address).connect()
    assert time.monotonic() - started < 15
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_ray_that_answers_at_its_address_is_joined(own_ray, paths):
    import ray

    cluster._knock(ray.get_runtime_context().gcs_address)
    Cluster(ray.get_runtime_context().gcs_address).connect()
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("wanted", "gpu", "expected"),
    [("auto", 0.25, "cuda"), ("cpu", 0.0, "cpu"), ("cuda", 0.0, "cuda"), ("mps", 0.0, "mps")],
)
def test_what_a_trial_runs_on(wanted, gpu, expected):
    assert Cluster(None).device(Resources(device=wanted), {"cpu": 1.0, "gpu": gpu}) == expected


def test_a_trial_without_a_gpu_of_its_own_uses_none():
    """Ray does not hide a GPU from a trial that was given none."""
    assert Cluster("a:1").device(Resources(), {"cpu": 1.0, "gpu": 0.0}) == "cpu"


@pytest.fixture
def joined(own_ray, paths):
    """Ray is there already: the study joins it."""
    running = Cluster(None)
    running.connect()
    return running


@pytest.mark.slow
def test_a_ray_that_is_there_is_joined_and_left_running(joined):
    import ray

    assert not joined.local
    joined.close()
    assert ray.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"cpu": 1.0, "gpu": 0.0}),
        ({"cpu": 0.5}, {"cpu": 0.5, "gpu": 0.0}),
        ({"gpu": 0.25}, {"cpu": 1.0, "gpu": 0.0}),
        ({"gpu": 0.25, "device": "cuda"}, {"cpu": 1.0, "gpu": 0.25}),
        ({"device": "cpu"}, {"cpu": 1.0, "gpu": 0.0}),
        ({"gpu": 0.25, "device": "cpu"}, {"cpu": 1.0, "gpu": 0.0}),
    ],
)
def test_what_a_trial_gets_on_a_cluster_without_gpus(joined, resources, expected):
    assert joined.per_trial(Resources(**resources)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cpu", "limit", "concurrent"),
    [(1.0, None, 2), (0.5, None, 4), (0.1, None, 20), (2.0, None, 1), (1.0, 1, 1), (0.5, 9, 4)],
)
def test_how_many_run_at_once(joined, cpu, limit, concurrent):
    assert joined.concurrency({"cpu": cpu, "gpu": 0.0}, limit) == concurrent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_trial", "needs"),
    [({"cpu": 3.0, "gpu": 0.0}, "3 CPUs and 0 GPUs"), ({"cpu": 1.0, "gpu": 0.5}, "1 CPUs and 0.5 GPUs")],
)
def test_a_trial_too_large_for_the_cluster_is_refused(joined, per_trial, needs):
    with pytest.raises(ValueError, match=f"a trial needs {needs}, the cluster has 2 CPUs and 0 GPUs"):
        joined.concurrency(per_trial, None)


@pytest.mark.slow
def test_calls_return_in_order(joined):
    assert joined.call(lambda a, b: a - b, [(n, 1) for n in range(6)], {"cpu": 1, "gpu": 0}) == [-1, 0, 1, 2, 3, 4]


def _refuse(message):
    raise TaskError(message)


def _some(number):
    if number == 1:
        _refuse("one of them")
    if number == 2:
        os._exit(1)
    if number == 3:
        time.sleep(300)
    return number


@pytest.mark.slow
def test_a_job_that_fails_or_takes_its_process_down_stops_no_other_and_time_ends_what_is_left(joined):
    found = dict(joined.each(_some, [(1,), (2,), (0,)], {"cpu": 0.5, "gpu": 0}))
    assert set(found) == {0, 1, 2}
    assert isinstance(found[0], TaskError)
    assert isinstance(found[1], Exception)
    assert found[2] == 0
    assert list(joined.each(_some, [(3,)], {"cpu": 0.5, "gpu": 0}, time.time())) == []


_WATCHED = """
import os, signal, sys, time
from search.cluster import Cluster
running = Cluster(None, lambda: os._exit(7))
running.connect()
from ray._private.worker import global_worker
(raylet,) = [info.process for info in global_worker.node.all_processes["raylet"]]
if sys.argv[1] == "dies":
    raylet.kill()
    time.sleep(60)  # as where the dense network is trained here
running.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "code"), [("dies", 7), ("ends", 0)])
def test_a_node_is_watched_from_its_start_to_its_end(what, code):
    root = Path(cluster.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", _WATCHED, what], cwd=root, timeout=250).returncode == code


@pytest.mark.slow
def test_an_error_on_the_cluster_is_the_error_itself(joined):
    with pytest.raises(TaskError) as caught:
        joined.call(_refuse, [("start = 'x.pt': does not fit",)], {"cpu": 1, "gpu": 0})
    assert str(caught.value) == "start = 'x.pt': does not fit"
