"""Crashes of trials: told in a line where a trial goes on from its checkpoint, and kept as its reason where it does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.files import no_room
from search.interrupt import stop_search

__all__ = ["Failures", "cause_of", "hush"]

_MEMORY = re.compile(r"running low on memory.*?was (?P<used>[\d.]+GB used / [\d.]+GB limit)", re.DOTALL)
_ALLOCATION = re.compile(r"^.*(?:MemoryError|out of memory|can't allocate memory|Unable to allocate).*$", re.MULTILINE)
_PAGES = "^Raylet is terminated|failed due to oom|^The node with node id"
_UNTOLD = (
    "Trial task failed",
    "Trials did not complete",
    # Ray copies its own state while it writes the next one, whose temporary file may vanish; the last copy is whole, and never read
    "Saving experiment state to storage",
)


class Failures(Callback):
    """Ray's callback. ``full``: a trial failed because the disk is, and the search was ended so that it can go on later."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say, self.full = folder, say, False

    def __reduce__(self) -> Any:
        """Ray keeps callbacks with the experiment; this one holds a terminal."""
        return (Callback, ())

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Its process is begun again, up to Ray's limit; nothing is gained by that without room for a checkpoint."""
        if no_room(self.folder):
            if not self.full:
                self.full = True
                stop_search()
            return
        count = f"{trial.run_metadata.num_failures} of {trial.max_failures} times"
        self.say(f"trial {trial.trial_id}: {cause_of(trial)}; it goes on from its checkpoint ({count})")


def cause_of(trial: Trial) -> str:
    """Why a trial crashed the last time, in a line, by its ``error.txt``: Ray's own object would have to be unpickled."""
    try:
        text = Path(trial.error_file or "").read_text(errors="replace").rpartition("Failure # ")[2]
    except (OSError, AttributeError, AssertionError):  # no file, or a trial that Ray gave no folder
        return "it crashed"
    if found := _MEMORY.search(text):
        return f"out of memory ({found['used']})"
    if lines := _ALLOCATION.findall(text):
        return f"out of memory ({_short(lines[-1])})"
    if "actor died" in text or "actor is dead" in text:
        return "its process died"
    if "temporarily unavailable" in text:  # Ray has not found out yet that it is gone
        return "its process does not answer"
    return _short(text.strip().splitlines()[-1]) or "it crashed"


def hush() -> None:
    """Ray's own pages on a crash are left out; a line of ours tells of it, and ``error.txt`` and Ray's logs have the rest."""
    from ray._private.ray_logging import stdout_deduplicator

    stdout_deduplicator.skip_re = re.compile(_PAGES)
    for handler in logging.getLogger("ray").handlers:
        handler.addFilter(_worth_showing)


def _worth_showing(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_UNTOLD)


def _short(line: str) -> str:
    return line.strip()[:160]
