"""How points are chosen: Optuna's samplers by name, each made for one space, and the policy of ``auto``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from search_spaces import Space
from search_spaces.domains import Categorical, Float, Int
from search_spaces.sections import SamplerName

__all__ = ["SAMPLERS", "Choice", "choose", "make_sampler", "span"]

logging.getLogger("optuna._gp").setLevel(logging.ERROR)  # a fit that did not converge is used all the same

_GP_TRIALS = range(20, 201)  # below, too few are left to fit; above, an ask takes longer with n^3
_GP_CONCURRENT = 8
_GP_SECONDS = 60.0  # between two asks; one takes about five seconds, in which the driver waits
_TPE_TRIALS = 1000
_POPULATIONS = (8, 50)


@dataclass(frozen=True)
class Choice:
    """A sampler's name, and why it was taken where ``auto`` took it."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"sampler {self.name}" + (f" (auto: {self.reason})" if self.reason else "")


def choose(space: Space, concurrent: int = 1, trial_seconds: float = 0.0) -> Choice:
    """The space's sampler, and what ``auto`` comes to in it.

    1. qmc, where all trials are asked for before any can be learnt from: it learns nothing, and spreads best.
    2. tpe, where knobs depend on knobs: gp and nsga model only the knobs that every trial has.
    3. nsga2, or nsga3 for three objectives, above 1,000 trials, where Optuna no longer recommends tpe.
    4. gp for 20 to 200 trials, 8 at once at most, where they are so long that its slow asks do not hold them up.
    5. tpe, which learns from 6 trials on and asks in milliseconds.
    """
    if space.file.sampler != "auto":
        return Choice(space.file.sampler)
    trials, start = space.trials, _startup(space)
    if trials <= max(start, concurrent):
        return Choice("qmc", f"too few trials to learn from: {trials}, {concurrent} at once")
    if any(domain.when for domain in space.file.search.values()):
        return Choice("tpe", "knobs depend on other knobs")
    if trials > _TPE_TRIALS:
        return Choice("nsga3" if len(space.file.objectives) > 2 else "nsga2", f"{trials} trials")
    if trials in _GP_TRIALS and concurrent <= _GP_CONCURRENT and trial_seconds / concurrent >= _GP_SECONDS:
        return Choice("gp", f"{trials} long trials, no knob depends on another")
    return Choice("tpe", f"{trials} trials")


def make_sampler(name: str, space: Space, concurrent: int = 1) -> BaseSampler:
    """A sampler for a space, by its seed. It says nothing: what Optuna warns of here is settled here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # qmc and nsga3: their interface may change, we pin it
        return SAMPLERS[name](space, concurrent)


def span(domain: Float | Int) -> dict[str, Any]:
    """A number's range as Optuna takes it, its upper end on the grid, which Optuna otherwise warns of."""
    span: dict[str, Any] = {"low": domain.low, "high": domain.high, "log": domain.log}
    if domain.step is not None:
        low, high, step = (Decimal(str(number)) for number in (domain.low, domain.high, domain.step))
        span |= {"step": domain.step, "high": type(domain.high)(low + (high - low) // step * step)}
    return span


def _startup(space: Space) -> int:
    """Finished trials before a model is asked: a third, but 6 at least and Optuna's 10 at most."""
    return min(10, max(6, space.trials // 3))


def _population(space: Space, concurrent: int) -> int:
    """A generation: so that there are six, and that those at once are of one."""
    low, high = _POPULATIONS
    return max(concurrent, min(high, max(low, space.trials // 6)))


def _tpe(space: Space, concurrent: int) -> BaseSampler:
    return TPESampler(seed=space.file.seed, n_startup_trials=_startup(space), constant_liar=True)


def _gp(space: Space, concurrent: int) -> BaseSampler:
    """Models the knobs that every trial has; tpe draws the others, where the default draws at random."""
    others = _tpe(space, concurrent)
    startup = _startup(space)
    return GPSampler(
        seed=space.file.seed, n_startup_trials=startup, independent_sampler=others, warn_independent_sampling=False
    )


class _WholeSpaceQMC(QMCSampler):
    """One sequence over all knobs of the space, from the first trial on; one that a trial lacks goes unused.

    Optuna's own takes the knobs of the first finished trial, draws all others at random, and warns of each.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(seed=space.file.seed, scramble=True, warn_independent_sampling=False)
        every = {name: _distribution(domain) for name, domain in space.draws().items()}
        self._every = {name: one for name, one in every.items() if not one.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._every)


def _distribution(domain: Float | Int | Categorical) -> BaseDistribution:
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.choices)
    return FloatDistribution(**span(domain)) if isinstance(domain, Float) else IntDistribution(**span(domain))


SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "tpe": _tpe,
    "nsga2": lambda space, n: NSGAIISampler(seed=space.file.seed, population_size=_population(space, n)),
    "nsga3": lambda space, n: NSGAIIISampler(seed=space.file.seed, population_size=_population(space, n)),
    "gp": _gp,
    "qmc": lambda space, n: _WholeSpaceQMC(space),
    "random": lambda space, n: RandomSampler(seed=space.file.seed),
}
assert {"auto", *SAMPLERS} == set(get_args(SamplerName))
