"""Searches many of whose processes are told to end, or do, at once."""

from __future__ import annotations

import json
import re
import signal

import pytest
from ray.cluster_utils import Cluster

from tests.search.driving import children, end_process, whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_signal_to_every_process_ends_the_search_as_one_to_the_driver_does(driver):
    """SIGTERM to all there is; Ctrl-C in a terminal, which its whole process group hears, is tried in ``test_tuner``."""
    trials, epochs = 2, 5
    driver.begin("--trials", str(trials), "--epochs", str(epochs), "--sampler", "random", seconds=0.3)
    driver.until(4)
    interrupted(driver, driver.kill_all(signal.SIGTERM))
    driver.resume()
    code, _, err = driver.end()
    assert (code, err) == (0, "")
    whole(driver, trials, epochs, kills=1)


def interrupted(driver, ended):
    """The front is written, tested, and told of; one line says that the search goes on."""
    code, out, err = ended
    assert (code, err.count("\n")) == (3, 1), err
    assert "--resume study goes on" in err
    assert "was not tested" not in out
    rows = json.loads((driver.study / "front.json").read_text())
    assert rows
    assert all(row["test_accuracy"] > 0 for row in rows)


@pytest.fixture
def two_nodes():
    """The address of a cluster of two nodes on this machine, each for one trial, and the second one's raylet."""
    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(num_cpus=1)
        yield cluster.address, second.all_processes["raylet"][0].process.pid
    finally:
        cluster.shutdown()


def test_what_ran_on_a_node_that_dies_goes_on_on_another(driver, two_nodes):
    address, raylet = two_nodes
    trials, epochs = 3, 9
    words = ["--trials", str(trials), "--epochs", str(epochs), "--sampler", "random", "--address", address]
    driver.begin(*words, seconds=0.4)

    def ran_there():
        workers = children(raylet)
        return [line for line in driver.lines() if line["pid"] in workers]

    driver.until(2, ran_there)
    cut_off = ran_there()[-1]["trial"]
    for pid in [raylet, *children(raylet)]:
        end_process(pid)
    code, out, err = driver.end()
    assert (code, err) == (0, "")
    assert "has been marked dead" not in out
    told = rf"trial {cut_off}: its process (died|does not answer); it goes on from its checkpoint \(1 of 2 times\)"
    assert re.search(told, out), out
    whole(driver, trials, epochs, kills=1)
