from __future__ import annotations

import pytest
import torch

from tasks import TaskError
from trainables.devices import DEVICES, choose_device, use_threads


@pytest.fixture
def threads():
    held = torch.get_num_threads()
    yield
    torch.set_num_threads(held)


def test_cpu_is_everywhere():
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_the_fastest_that_is_here():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best


@pytest.mark.parametrize("name", ["tpu", "", "CPU"])
def test_other_names_are_refused_with_what_is_here(name):
    with pytest.raises(TaskError, match=f"device = '{name}': not on this machine, which has cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", [d for d in DEVICES if d not in ("auto", "cpu")])
def test_a_device_is_chosen_where_it_is_here_and_refused_where_not(name):
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name]
    if present:
        assert choose_device(name).type == name
    else:
        with pytest.raises(TaskError, match=name):
            choose_device(name)


@pytest.mark.parametrize(("cpus", "expected"), [(2, 2), (1.9, 1), (0.25, 1), (3.0, 3)])
def test_threads_are_the_whole_cpus_given_one_at_least(threads, cpus, expected):
    use_threads(cpus)
    assert torch.get_num_threads() == expected
