"""What Ctrl-C leaves, as Ray Tune leaves it: the handler it found is put back only when it took the signal itself."""

from __future__ import annotations

import signal
import subprocess
import threading

import pytest

from search.interrupt import as_interrupts, interruptible, unheard


@pytest.fixture(autouse=True)
def pythons_own():
    """Whatever was there: other tests, and the shell, leave other handlers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_search_that_ends_by_itself_was_not_interrupted():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupted:
        signal.signal(signal.SIGINT, lambda number, frame: None)  # Ray's own, still in place at the end
    assert not interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_search_whose_handler_was_put_back_was_interrupted():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupted:
        found = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda number, frame: signal.signal(signal.SIGINT, found))
        signal.raise_signal(signal.SIGINT)
    assert interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_ends_the_program():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_there_is_nothing_to_take():
    said = []

    def work():
        with interruptible() as interrupted:
            pass
        said.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_clusters_signals_do_what_ctrl_c_does(number):
    before = signal.getsignal(number), signal.getsignal(signal.SIGINT)
    with as_interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with interruptible() as interrupted:
            found = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, lambda number, frame: signal.signal(signal.SIGINT, found))  # as Ray does
            signal.raise_signal(number)
        assert interrupted()
    assert (signal.getsignal(number), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_in_the_background_where_ctrl_c_is_ignored_they_are_not(number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with as_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_second_one_ends_the_program():
    with interruptible():
        found = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda number, frame: signal.signal(signal.SIGINT, found))
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_rays_own_handler_does_not_stay():
    before = signal.getsignal(signal.SIGUSR1)
    with interruptible():
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_processes_begun_unheard_do_not_end_by_a_signal_to_all(number):
    with unheard():
        process = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    try:
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
    finally:
        process.kill()
        process.wait()


def test_this_process_hears_as_before():
    with unheard():
        pass
    with as_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
