"""A space becomes a study: data and dense network, Ray Tune over Optuna, the record, the front."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainables
from analysis.pareto import Scale
from search.archive import Archive, write_text
from search.clock import DeadlineScheduler
from search.cluster import Cluster
from search.display import Display, is_terminal
from search.ending import conclude, files_of
from search.events import Events
from search.folder import StudyFolder, dated_name
from search.front import Front
from search.ground import advice, dense_line
from search.interrupt import interruptible
from search.plan import Plan, Planner
from search.progress import Lines, Progress, View, speaker
from search.record import study_tags, study_text
from search.recorder import Recorder
from search.searcher import StudySearch, open_storage
from search.tracking import Tracking, TrackingCard, tracking_uri
from search_spaces import Space
from tasks.downloads import data_root
from trainables.verdict import test_accuracy

__all__ = ["Settings", "run"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not change what is searched: names, places, and who is told.

    ``strict_data``: the data set was asked for by name, no embedded data instead. ``quiet``: nothing is printed;
    ``json``: an event a line on standard output. ``command`` is kept in study.yaml.
    """

    name: str | None = None
    results: Path = Path("results")
    data_root: Path | None = None
    strict_data: bool = False
    address: str | None = None
    tracking_uri: str | None = None
    experiment: str = "ratefront"
    quiet: bool = False
    json: bool = False
    command: str = ""


def run(space: Space, settings: Settings | None = None, folder: StudyFolder | None = None) -> Front:
    """Search, and return the front; ``Front.interrupted`` where Ctrl-C ended it early.

    ``folder``: one that was taken already, in place of ``settings.results`` and ``settings.name``.

    SpaceError, TaskError, DataMissing, KnobError and StudyError for what a user can mend, ConnectionError where the
    cluster does not answer; a study that ends before its first trial leaves nothing behind.
    """
    settings = settings or Settings()
    taken = folder or StudyFolder(settings.results, settings.name or dated_name(space.name), settings.command)
    try:
        study = _Study(space, settings, taken)
        try:
            return study.search()
        finally:
            study.close()
    finally:
        taken.discard()


class _Study:
    """One run."""

    def __init__(self, space: Space, settings: Settings, folder: StudyFolder) -> None:
        self.space, self.folder, self.started = space, folder, time.time()
        self.view = _view(settings)
        self.say = self.view.say
        write_text(folder.study_yaml, study_text(space, folder.head(), {}))
        self.recorder = Recorder(tracking_uri(settings.tracking_uri, folder.root), self.say)
        self.cluster = Cluster(settings.address)
        where = None if settings.tracking_uri else (folder.root / "mlartifacts").as_uri()
        self.tracking = Tracking(self.recorder, TrackingCard(folder.name, settings.experiment, where))
        self.planner = Planner(
            space, data_root(settings.data_root), settings.strict_data, self.cluster, folder, self.say, self.started
        )

    def search(self) -> Front:
        """From data to front."""
        import ray

        plan = self.planner.plan()
        space, dense, folder = plan.opened.space, plan.reference(), self.folder.path
        self._announce(plan, dense)
        scale = Scale(list(space.file.objectives), dense, plan.opened.task.chance)
        about: dict[str, Any] = {"data": plan.opened.data_used, "split": plan.opened.task.data.split}
        about |= {"space": space.name, "network": space.task.network, "tracking": self.recorder.uri}
        archive = Archive(folder, space.file.objectives, scale, space.file.budget.epochs, about, space.file.keep)
        ground = ray.put(plan.ground(folder))
        self.folder.keep()
        interrupted = self._tune(plan, ground, archive)

        def test(paths: list[str]) -> list[float]:
            return self.cluster.call(test_accuracy, [(ground, n) for n in [plan.dense.state, *paths]], plan.per_trial)

        front = conclude(archive, dense, test, self.say)
        about |= {"trials": len(archive.trials), "failed": sum(r["end"] == "failed" for r in archive.trials.values())}
        front = replace(front, interrupted=interrupted, about=about)
        self.tracking.finish(front, files_of(front), sum(row["epoch"] for row in archive.trials.values()))
        return front

    def close(self) -> None:
        """Leave nothing running."""
        self.view.close()
        self.recorder.close()
        self.cluster.close()

    def _announce(self, plan: Plan, plain: Mapping[str, Any]) -> None:
        """To the user, to study.yaml, and to the record."""
        opened, dense = plan.opened, plan.dense
        self.say(dense_line(opened.task, dense))
        space, data = opened.space, opened.task.data
        reference = {"accuracy": dense.accuracy, "weights": dense.weights, "size": dense.size, "gops": dense.gops}
        found = {"data_used": opened.data_used, "split": data.split, "start": dense.origin, "dense": reference}
        write_text(self.folder.study_yaml, study_text(space, self.folder.head(), found))
        objectives = space.file.objectives
        tags = {"data": opened.data_used, "split": data.split}
        facts = {"name": self.folder.name, "folder": str(self.folder.path), "space": space.name}
        self.view.tell("study", {**facts, "objectives": dict(objectives), **tags, "dense": reference})
        self.tracking.expect(list(objectives), space.file.budget.epochs, tags)
        params: dict[str, Any] = {
            "space": space.name,
            "chance": opened.task.chance,
            "input_shape": list(data.input_shape),
        }
        params["objectives"] = ",".join(f"{name}:{way}" for name, way in objectives.items())
        params |= {f"dense_{name}": value for name, value in plain.items()} | {"dense_weights": dense.weights}
        self.tracking.begin(params, {**study_tags(space), **tags, "start": dense.origin}, self.folder.study_yaml)
        if space.file.budget.rungs:
            self.say("budget.rungs is kept with the study, but nothing stops trials at rungs yet: all run to their end")
        for line in advice(space, plan.price, plan.concurrent, plan.device):
            self.say(line)

    def _tune(self, plan: Plan, ground: Any, archive: Archive) -> bool:
        """Run Ray Tune to its end; True where it was interrupted."""
        from ray import tune
        from ray.tune.logger import JsonLoggerCallback
        from ray.tune.search import ConcurrencyLimiter

        space, clock = plan.opened.space, plan.clock(self.started)
        trainable = tune.with_parameters(trainables.load(space.file.method), ground=ground)
        searcher = StudySearch(space, open_storage(self.folder.path), clock, plan.concurrent)
        self.say(str(searcher.choice))
        progress = Progress(archive, clock, space.trials, self.view)
        tuner = tune.Tuner(
            tune.with_resources(trainable, dict(plan.per_trial)),
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(searcher, max_concurrent=plan.concurrent),
                scheduler=DeadlineScheduler(clock),
                num_samples=space.trials,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"{space.file.method}_{trial.trial_id}",
                trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=self.folder.name,
                storage_path=str(self.folder.root),
                callbacks=[archive, self.tracking, progress, JsonLoggerCallback()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
                failure_config=tune.FailureConfig(max_failures=2),
                verbose=0,
            ),
        )
        try:
            with interruptible() as was_interrupted:
                tuner.fit()
        finally:
            self.view.close()
        return was_interrupted()


def _view(settings: Settings) -> View:
    """A live display where standard output is a terminal that can show it, else plain lines."""
    if settings.json:
        return Events()
    live = not settings.quiet and is_terminal(sys.stdout)
    return Display() if live else Lines(speaker(settings.quiet))
