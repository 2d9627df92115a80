"""A study goes on: its ledger, Optuna's journal and the checkpoints are compared, repaired, and what is left to do is found.

Nothing of Ray's own state is read, so nothing is unpickled: trials that ran are begun again under their old names from their last
whole checkpoint. The ledger says how trials ended; where it does not, what Optuna was told counts.
"""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from ray.tune.experiment import Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.search_generator import SearchGenerator

from search.archive import Archive
from search.outcome import Outcome, outcome_of
from search.searcher import StudySearch, draw_from
from search.tracking import Tracking
from trainables.base import CHECKPOINT

__all__ = ["Continuing", "Past", "Was", "differences", "held", "resumed"]

HELD = "held"
_STARTUP = 50  # points that a sampler which learns draws at random before it does
_WHERE = ("concurrent", "cpu", "gpu", "device")
_FREE = (
    "budget.trials",
    "budget.wall_time",
    "budget.patience",
    "keep",
    "sampler",
    *(f"resources.{name}" for name in _WHERE),
)


@dataclass
class Was:
    """A trial as the ledger knows it: its last result and how it ended, empty where it did not."""

    result: dict[str, Any] = field(default_factory=dict)
    end: str = ""


class Past:
    """What a ledger holds."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self.lines = list(lines)
        self.trials: dict[str, Was] = {}
        for line in self.lines:
            if line["event"] == "start":
                self.trials.setdefault(line["trial"], Was()).end = ""
            elif line["event"] == "result":
                last = line["reports"][-1]["metrics"] if line["reports"] else {}
                told = {name: line[name] for name in ("epoch", "failed", "reason")}
                self.trials[line["trial"]].result = {**last, **told}
            elif line["event"] == "end":
                self.trials[line["trial"]].end = line["end"]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a study may not change on its way, a line each: space, objectives, data. Both as ``study.yaml`` holds them."""
    before, after = _flat(_fixed(old)), _flat(_fixed(new))
    lines = []
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name, "absent"), after.get(name, "absent")
        if was != now and not name.removeprefix("resolved.").startswith(_FREE):
            lines.append(f"{name.removeprefix('resolved.')} was {was}, is {now}")
    return lines


def _fixed(about: Mapping[str, Any]) -> dict[str, Any]:
    objectives = list(about.get("resolved", {}).get("objectives", {}))  # their order is that of the values
    kept = {name: about[name] for name in ("data_used", "split", "resolved") if name in about}
    return {**kept, "order of objectives": objectives}


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Dotted names and values as text, so that a list is a tuple and 1 is no 1.0."""
    if isinstance(value, Mapping) and value:
        parts = [_flat(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {name: str(list(value) if isinstance(value, (list, tuple)) else value)}


def resumed(
    searcher: StudySearch,
    past: Past,
    archive: Archive,
    tracking: Tracking,
    trials: int,
    say: Callable[[str], None],
    retry: bool = False,
) -> tuple[dict[str, Path | None], int]:
    """Trials to run on, each with its checkpoint, and how many new ones; what was repaired is said."""
    drawn = [t for t in searcher.study.get_trials(deepcopy=False) if t.state is not TrialState.WAITING]
    asked = [t for t in drawn if "trial_id" in t.user_attrs or t.state is TrialState.RUNNING]  # others never ran here
    if not asked:
        return {}, trials
    if searcher.preflight:
        searcher.preflight.refused = sum(t.user_attrs.get("end") == "refused" for t in drawn)
    settled = _settle(searcher, past, archive, tracking, asked)
    known = {name: past.trials.get(name, Was()).result.get("epoch", 0) for name in _revive(searcher, past)}
    waiting = {name: held(archive.folder, name, epoch) for name, epoch in known.items()}
    _spend(searcher, len(drawn))
    lost = archive.forget_lost()
    ends = Counter(row["end"] for row in archive.trials.values())
    counts = [f"{ends[end]} {end}" for end in ("done", "stopped", "failed") if ends[end]]
    whole = sum(path is not None for path in waiting.values())
    again = f"{len(waiting)} go on, {whole} of them from a checkpoint" if waiting else "none was running"
    say(f"resumed: of {len(asked)} trials {', '.join(counts) or 'none'} ended; {again}")
    for what, names in (("every store told of the end of", settled), ("the front goes on without lost files:", lost)):
        if names:
            say(f"repaired: {what} {', '.join(names)}")
    retried = _retry(searcher, past) if retry else 0
    return waiting, max(0, trials - len(asked)) + retried


def _retry(searcher: StudySearch, past: Past) -> int:
    """Queue the knobs of trials that crashed, once each, as new trials: how many. Those that diverged would again."""
    trials = searcher.study.get_trials(deepcopy=False)
    before = {trial.user_attrs.get("retries") for trial in trials}
    crashed = {name for name, was in past.trials.items() if was.end == "failed" and not was.result.get("failed")}
    again = [t for t in trials if t.user_attrs.get("trial_id") in crashed - before]
    for trial in again:
        searcher.study.enqueue_trial(trial.params, user_attrs={"retries": trial.user_attrs["trial_id"]})
    return len(again)


def _settle(
    searcher: StudySearch, past: Past, archive: Archive, tracking: Tracking, asked: list[FrozenTrial]
) -> list[str]:
    """Trials that had nothing left to do when the study was killed, or of which Optuna heard first: which they were."""
    told = {t.user_attrs.get("trial_id"): t.user_attrs.get("end") for t in asked if t.state.is_finished()}
    settled = []
    for name, was in past.trials.items():
        if not was.end and (told.get(name) or _is_over(searcher, name, was.result)):
            outcome = outcome_of(was.result, told.get(name) == "failed", archive.epochs, searcher.objectives)
            tracking.end(name, was.result, outcome is Outcome.FAILED)
            was.end = archive.trials[name]["end"] = outcome.value
            settled.append(name)
    return settled


def _is_over(searcher: StudySearch, name: str, result: Mapping[str, Any]) -> bool:
    """Whether a trial's last result was to be its last."""
    if not result:
        return False
    over = result["failed"] or result["epoch"] >= searcher.space.file.budget.epochs
    return bool(over or (searcher.ladder and searcher.ladder.told(name, result["epoch"]) is False))


def _revive(searcher: StudySearch, past: Past) -> list[str]:
    """Give the searcher its unfinished trials back, tell it of those that ended; which are to run on, in order."""
    waiting = []
    for frozen in searcher.study.get_trials(states=[TrialState.RUNNING]):
        trial = optuna.trial.Trial(searcher.study, frozen._trial_id)
        name = _name(trial, frozen)
        was = past.trials.get(name, Was())
        searcher._ot_trials[name] = trial
        if was.end:
            searcher.on_trial_complete(name, was.result, error=was.end == "failed")
        else:
            waiting.append(name)
    return waiting


def _name(trial: optuna.trial.Trial, frozen: FrozenTrial) -> str:
    """Of the trial in Ray; one that was killed before it had a name gets one."""
    name = frozen.user_attrs.get("trial_id") or Trial.generate_id()
    trial.set_user_attr("trial_id", name)
    return str(name)


def _spend(searcher: StudySearch, trials: int) -> None:
    """Let a sampler's random numbers go on where they were, as if it had drawn these trials in this process."""
    sampler = searcher.study.sampler
    if searcher.choice.name in ("qmc", "gp"):  # one counts in the journal, the other draws anew from what it learnt
        return
    study = optuna.create_study(sampler=sampler, directions=searcher.study.directions)
    for _ in range(trials if searcher.choice.name == "random" else min(trials, _STARTUP)):
        searcher.space.point(draw_from(study.ask()))


def held(folder: Path, trial_id: str, epoch: int) -> Path | None:
    """The trial's last whole checkpoint, moved to where Ray does not write; None: it begins again.

    ``epoch``: the last that the ledger knows; what was done after it was not kept.
    """
    home = folder / f"trial_{trial_id}"
    whole = [(done, path) for path in home.glob("*/") if (done := _epochs_in(path)) is not None and done <= epoch]
    if not whole:
        _clear(home)
        return None
    _, best = max(whole, key=lambda pair: pair[0])
    if best.name != HELD:
        shutil.rmtree(home / HELD, ignore_errors=True)
        best = best.rename(home / HELD)
    _clear(home)
    return best


def _clear(home: Path) -> None:
    """Ray counts its checkpoints from zero again; what a kill cut off is no part of a new one."""
    for path in home.glob("checkpoint_*"):
        shutil.rmtree(path, ignore_errors=True)


def _epochs_in(path: Path) -> int | None:
    """Epochs done in a checkpoint, None where it is none or was cut off."""
    file = path / CHECKPOINT
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                return None
        return int(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["epochs_done"])
    except (OSError, zipfile.BadZipFile, RuntimeError, KeyError, TypeError, UnpicklingError):
        return None


class Continuing(SearchGenerator):
    """Begins ``waiting`` trials again, each from its checkpoint, and then asks for new ones."""

    def __init__(self, searcher: ConcurrencyLimiter, waiting: Mapping[str, Path | None]) -> None:
        super().__init__(searcher)
        self._left = dict(waiting)

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """Ray's next trial."""
        if not self._left:
            return super().create_trial_if_possible(experiment_spec)
        trial_id, checkpoint = next(iter(self._left.items()))
        config = self.searcher.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            return None
        del self._left[trial_id]
        self._counter += 1
        spec = {**deepcopy(experiment_spec), "config": config, "restore": checkpoint and str(checkpoint)}
        return _create_trial_from_spec(
            spec, self._parser, evaluated_params=dict(config["point"]), experiment_tag=trial_id, trial_id=trial_id
        )
