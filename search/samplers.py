"""How points are chosen: Optuna's samplers by name, each made for one space, and the policy of ``auto``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from optuna import Study
from optuna.distributions import BaseDistribution
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

from analysis.pareto import Scale
from search.distributions import every_knob
from search.ehvi import EhviSampler, Outlook, corner
from search_spaces import Space
from search_spaces.sections import SamplerName

__all__ = ["SAMPLERS", "Choice", "choose", "make_sampler", "plain_outlook"]

logging.getLogger("optuna._gp").setLevel(logging.ERROR)  # a fit that did not converge is used all the same

_EHVI_TRIALS = 1000  # beyond, evolution has the trials that it needs
_POPULATIONS = (8, 50)


@dataclass(frozen=True)
class Choice:
    """A sampler's name, and why it was taken, or what it does not do."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"sampler {self.name}" + (f" ({self.reason})" if self.reason else "")


def choose(space: Space, concurrent: int = 1, outlook: Outlook | None = None) -> Choice:
    """The space's sampler, and what ``auto`` comes to in it.

    1. qmc, where all trials are asked for before any can be learnt from: it learns nothing, and spreads best.
    2. tpe, where a constraint is on what is no objective: ehvi does not see it.
    3. ehvi up to 1,000 trials: it needs the fewest, and models conditional knobs too.
    4. tpe beyond, where knobs depend on knobs, which nsga does not model.
    5. nsga2, or nsga3 for three objectives.
    """
    told = corner((outlook or plain_outlook(space)).scale, space.file.constraints) is not None
    if space.file.sampler != "auto":
        unguided = space.file.sampler == "ehvi" and not told
        return Choice(space.file.sampler, "constraints on what is no objective do not guide it" if unguided else "")
    trials = space.trials
    if trials <= max(_startup(space), concurrent):
        return Choice("qmc", f"auto: too few trials to learn from: {trials}, {concurrent} at once")
    if not told:
        return Choice("tpe", "auto: a constraint is on what is no objective")
    if trials <= _EHVI_TRIALS:
        return Choice("ehvi", f"auto: {trials} trials")
    if any(domain.when for domain in space.file.search.values()):
        return Choice("tpe", f"auto: {trials} trials, knobs depend on other knobs")
    return Choice("nsga3" if len(space.file.objectives) > 2 else "nsga2", f"auto: {trials} trials")


def plain_outlook(space: Space) -> Outlook:
    """As if the dense network's metrics were 1, and nothing known of how stopped trials would end."""
    return Outlook(Scale(list(space.file.objectives), {}, 0.0))


def make_sampler(name: str, space: Space, concurrent: int = 1, outlook: Outlook | None = None) -> BaseSampler:
    """A sampler for a space, by its seed. It says nothing: what Optuna warns of here is settled here."""
    outlook = outlook or plain_outlook(space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # qmc and nsga3: their interface may change, we pin it
        return SAMPLERS[name](space, concurrent, outlook)


def _startup(space: Space) -> int:
    """Finished trials before tpe and gp ask their models, and too few for any other sampler: a third, but 6 at least, Optuna's 10 at most."""
    return min(10, max(6, space.trials // 3))


def _population(space: Space, concurrent: int) -> int:
    """A generation: so that there are six, and that those at once are of one."""
    low, high = _POPULATIONS
    return max(concurrent, min(high, max(low, space.trials // 6)))


def _tpe(space: Space) -> BaseSampler:
    return TPESampler(seed=space.file.seed, n_startup_trials=_startup(space), constant_liar=True)


def _gp(space: Space) -> BaseSampler:
    """Models the knobs that every trial has; tpe draws the others, where the default draws at random."""
    others = _tpe(space)
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
        self._every = every_knob(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._every)


SAMPLERS: dict[str, Callable[[Space, int, Outlook], BaseSampler]] = {
    "ehvi": lambda space, n, outlook: EhviSampler(space, outlook),
    "tpe": lambda space, n, outlook: _tpe(space),
    "nsga2": lambda space, n, outlook: NSGAIISampler(seed=space.file.seed, population_size=_population(space, n)),
    "nsga3": lambda space, n, outlook: NSGAIIISampler(seed=space.file.seed, population_size=_population(space, n)),
    "gp": lambda space, n, outlook: _gp(space),
    "qmc": lambda space, n, outlook: _WholeSpaceQMC(space),
    "random": lambda space, n, outlook: RandomSampler(seed=space.file.seed),
}
assert {"auto", *SAMPLERS} == set(get_args(SamplerName))
