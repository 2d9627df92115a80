"""Members of a front trained again with new seeds: mean and spread of what they reach, and how likely each is really on it.

A front picks what was lucky. So the measurement that put a member there does not count again: the chance is a bootstrap over
the new seeds alone, and a member that is dominated in most draws is marked as luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.pareto import front_chances
from search.front import Front, Member
from search.ledger import entries
from search.tracking import Tracking

__all__ = ["LEAST", "Job", "Known", "jobs_of", "known_repeats", "repeated", "with_repeats"]

LEAST = 2  # one seed has no spread
LUCK = 0.5  # chance below which a member is marked
_STEP = 1_000_003  # between seeds, so that neighbouring trials' do not meet

# a job's number, and its metrics by epoch or why there are none; ends early where the time is up
Train = Callable[[Sequence["Job"]], Iterator[tuple[int, list[dict[str, float]] | Exception]]]


@dataclass(frozen=True)
class Job:
    """One training: the trial it repeats, its config with the new seed, and the epochs of its members."""

    trial_id: str
    config: Mapping[str, Any]
    epochs: tuple[int, ...]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    def facts(self, metrics: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """Its line in the ledger; ``metrics`` at those of its epochs that it came to."""
        about = {"trial": self.trial_id, "seed": self.seed, "epochs": list(self.epochs)}
        return {**about, "metrics": [dict(m) for m in metrics], "config": dict(self.config)}


@dataclass
class Known:
    """What the ledger tells: each trial's config, and by trial and seed the networks that were measured again by epoch."""

    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    found: dict[tuple[str, int], dict[int, Mapping[str, float]]] = field(default_factory=dict)
    asked: dict[tuple[str, int], set[int]] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        """A line ``repeat``."""
        mark = (entry["trial"], int(entry["seed"]))
        self.asked.setdefault(mark, set()).update(entry["epochs"])
        self.found.setdefault(mark, {}).update({int(m["epoch"]): m for m in entry["metrics"]})

    def of(self, member: Member) -> list[Mapping[str, float]]:
        """The member's measurements by other seeds."""
        mine = [by for (trial, _), by in self.found.items() if trial == member.trial_id]
        return [by[member.epoch] for by in mine if member.epoch in by]

    def seeds(self, member: Member) -> int:
        """How often it was tried, those that diverged among them."""
        return sum(trial == member.trial_id and member.epoch in epochs for (trial, _), epochs in self.asked.items())


def known_repeats(past: Iterable[Mapping[str, Any]]) -> Known:
    """From the lines of a ledger."""
    known = Known()
    for entry in past:
        if entry["event"] == "start":
            known.configs[entry["trial"]] = entry["config"]
        elif entry["event"] == "repeat":
            known.add(entry)
    return known


def jobs_of(front: Front, known: Known, count: int) -> list[Job]:
    """What is left to train until every member has ``count`` measurements by other seeds, or they diverged."""
    jobs = []
    for trial in dict.fromkeys(member.trial_id for member in front):
        epochs = tuple(sorted(m.epoch for m in front if m.trial_id == trial))
        config = known.configs[trial]
        for number in range(1, count + 1):
            seed = (int(config["seed"]) + number * _STEP) % 2**31
            if not set(epochs) <= known.asked.get((trial, seed), set()):
                jobs.append(Job(trial, {**config, "seed": seed}, epochs))
    return jobs


def repeated(front: Front, count: int, train: Train, tracking: Tracking, say: Callable[[str], None]) -> Front:
    """Train what is left of ``count`` seeds a member, each in the ledger as soon as it is done, and weigh the front by all.

    One that cannot be trained stops no other. ``interrupted`` where Ctrl-C left some for later; whatever happens, the front stands.
    """
    known = known_repeats(entry for entry, _ in entries(tracking.ledger.path))
    jobs, done, failed, why = jobs_of(front, known, count), 0, 0, ""
    if jobs:
        trials = len({job.trial_id for job in jobs})
        say(f"repeating {trials} trials of the front with {count} new seeds: {len(jobs)} trainings")
    try:
        for number, found in train(jobs) if jobs else ():
            what = f"trial {jobs[number].trial_id}, seed {jobs[number].seed}"
            if isinstance(found, Exception):
                failed += 1
                say(f"no repeat of {what}: {_reason(found)}")
                continue
            facts = jobs[number].facts(found)
            tracking.repeat(**facts)
            known.add(facts)
            done += 1
            say(f"repeat {done}/{len(jobs)}: {what}")
        why = "some failed" if done + failed == len(jobs) else "the time is up"
    except KeyboardInterrupt:
        why, front = "interrupted", replace(front, interrupted=True)
    except Exception as error:  # a lost cluster
        why = _reason(error)
    if done < len(jobs):
        say(f"{why}: {len(jobs) - done} of {len(jobs)} repeats are left; --resume {front.folder.name} makes them")
    front = with_repeats(front, known)
    lucky = [member for member in front if member.repeats.get("luck")]
    if any(member.repeats for member in front):
        say(f"by other seeds {len(lucky)} of {len(front)} members would not be on the front; front.json says which")
    return front


def with_repeats(front: Front, known: Known) -> Front:
    """The front with what is known: by member ``seeds``, mean and ``std`` of each objective, ``on_front``, ``luck``.

    A member that was not tried with two new seeds is left as it is; where fewer than two came to an end it is luck.
    """
    names = list(front.objectives)
    signs = np.array([-1.0 if way == "max" else 1.0 for way in front.objectives.values()])
    measured = [np.array([[m[n] for n in names] for m in known.of(member)]).reshape(-1, len(names)) for member in front]
    able = [rows * signs if len(rows) >= LEAST else rows[:0] for rows in measured]
    chances = front_chances(able, [member.trial_id for member in front])
    members = []
    for member, rows, chance in zip(front, measured, chances, strict=True):
        tried = known.seeds(member)
        facts: dict[str, Any] = {"seeds": tried, "on_front": float(chance), "luck": bool(chance < LUCK)}
        if len(rows) >= LEAST:
            spread = zip(names, rows.mean(axis=0), rows.std(axis=0, ddof=1), strict=True)
            facts |= {name: {"mean": float(mean), "std": float(std)} for name, mean, std in spread}
        members.append(replace(member, repeats=facts if tried >= LEAST else {}))
    return replace(front, members=members)


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
