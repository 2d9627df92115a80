"""What is said of live searches."""

from __future__ import annotations

import numpy as np

from benchmarks.live import differences, reached


def test_a_goal_is_reached_after_a_share_of_the_epochs():
    climb = np.array([0.0, 0.1, 0.5, 0.5, 0.9])
    assert [reached(climb, goal) for goal in (0.0, 0.5, 0.9, 1.0)] == ["0%", "50%", "100%", "more than all"]


def test_differences_are_means_over_seeds_where_they_are_taken():
    """Seeds that are 1 and 3 epochs' worth ahead."""
    gains = np.outer([0.01, 0.03], np.arange(181))
    *cells, ahead = differences(gains)
    assert [cell.split()[0] for cell in cells] == ["+0.900", "+1.200", "+1.800", "+3.600"]
    assert cells[-1] == "+3.600 [+1.800, +5.400]"
    assert ahead == "2 of 2"
    assert differences(-gains)[-1] == "0 of 2"
