"""Where a trial is heading: the coordinates that it will end with, learnt from the trials that went further.

Formula: v_{k+1} = v_k + f_k(x, v_k), v_k a trial's coordinates at rung k (the end of the budget is the last), x its knobs in the unit
cube, f_k extremely randomised trees (Geurts, Ernst & Wehenkel 2006, doi 10.1007/s10994-006-6226-1) over the trials known at both; f_k is 0
until ``least`` such trials are known. A trial is judged by the forecast of when it came to its rung. Without one a rung stops what only
begins to shrink: an entropy-penalised trial in favour of a uniform quantiser, whose rate is at its end from the first epoch on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from search_spaces.domains import Categorical, Float, Int

__all__ = ["Forecast", "place"]

_TREES, _LATEST = 24, 500
_ABSENT = -0.5
_AGAIN = 1.1  # trees are grown anew where they may learn from a tenth more


def place(domains: Mapping[str, Float | Int | Categorical], draws: Mapping[str, Any]) -> list[float]:
    """Draws in the unit cube, an axis a choice; what a trial does not have lies outside."""
    found: list[float] = []
    for name, domain in domains.items():
        value = draws.get(name)
        if isinstance(domain, Categorical):
            found += [
                float(name in draws and type(value) is type(choice) and value == choice) for choice in domain.choices
            ]
        else:
            found.append(_ABSENT if value is None else domain.share(value))
    return found


class Forecast:
    """``epochs``: the rungs', and the last of all."""

    def __init__(self, epochs: Sequence[int], least: int) -> None:
        self.steps, self.least = dict(pairwise(epochs)), least
        self._known: dict[int, dict[str, list[float]]] = {epoch: {} for epoch in epochs}
        self._places: dict[str, list[float]] = {}
        self._grown: dict[int, tuple[int, Any]] = {}

    def record(self, trial_id: str, epoch: int, where: Sequence[float], vector: Sequence[float]) -> None:
        """A trial's coordinates at a rung or at its end."""
        self._places[trial_id] = list(where)
        self._known[epoch][trial_id] = list(vector)

    def heading(self, epoch: int, where: Sequence[float], vector: Sequence[float]) -> list[float]:
        """What a trial with these knobs will end with, that has these coordinates at that rung."""
        found = np.array(vector, dtype=float)
        while (after := self.steps.get(epoch)) is not None:
            if trees := self._trees(epoch, after):
                row = np.array([[*where, *found]], dtype=np.float32)
                found = found + np.mean([tree.tree_.predict(row).reshape(-1) for tree in trees], axis=0)
            epoch = after
        return [float(x) for x in found]

    def ends(self) -> dict[str, list[float]]:
        """By trial: what it ended with, or, from the last rung that it came to, will end with."""
        found: dict[str, list[float]] = {}
        for epoch, known in self._known.items():
            found |= known
            trees = self._trees(epoch, self.steps[epoch]) if epoch in self.steps and found else None
            if trees:
                rows = np.array([[*self._places[name], *vector] for name, vector in found.items()], dtype=np.float32)
                gains = np.mean([tree.tree_.predict(rows).reshape(len(rows), -1) for tree in trees], axis=0)
                found = dict(zip(found, (rows[:, -gains.shape[1] :] + gains).tolist(), strict=True))
        return found

    def _trees(self, epoch: int, after: int) -> Any:
        both = [name for name in self._known[after] if name in self._known[epoch]]
        if len(both) < self.least:
            return None
        seen, trees = self._grown.get(epoch, (0, None))
        if trees is None or len(both) > seen * _AGAIN:
            from sklearn.ensemble import ExtraTreesRegressor

            rows = [
                (self._places[name], self._known[epoch][name], self._known[after][name]) for name in both[-_LATEST:]
            ]
            gains = np.array([np.subtract(end, begin) for _, begin, end in rows])
            forest = ExtraTreesRegressor(_TREES, max_features=0.7, random_state=0)
            forest.fit([[*where, *begin] for where, begin, _ in rows], gains if gains.shape[1] > 1 else gains.ravel())
            trees = forest.estimators_  # asked one by one: the forest's own predict takes ten times as long for one row
            self._grown[epoch] = len(both), trees
        return trees
