"""A space becomes a study: data and dense network, Ray Tune over Optuna, the record, the front."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import trainables
from analysis.pareto import NEAR_CHANCE, Scale
from search.archive import Archive
from search.cluster import Cluster
from search.delivery import TrackingCard, record_of
from search.display import Display, is_terminal
from search.ending import conclude, files_of, rewrite
from search.epochs import networks_of, trial_marks, write_epochs
from search.events import Events
from search.failures import Failures, hush
from search.files import check_full, quiet_when_full, write_text
from search.folder import StudyError, StudyFolder, dated_name
from search.front import Front
from search.ground import advice, dense_line
from search.interrupt import interruptible
from search.ledger import LEDGER, Ledger, entries
from search.plan import Plan, Planner
from search.preflight import Preflight
from search.progress import Lines, Progress, View, speaker
from search.record import study_tags, study_text
from search.recorder import Recorder
from search.repeats import Job, repeated
from search.resuming import Continuing, Past, differences, resumed
from search.rungs import milestones
from search.scheduler import ParetoASHA
from search.searcher import StudySearch, open_storage
from search.shares import shares
from search.shedding import Shedding
from search.tracking import Tracking, record_place
from search.warm import fitted, read_front
from search_spaces import Space
from tasks.downloads import data_root
from trainables.again import retrain
from trainables.verdict import test_accuracy

__all__ = ["Settings", "run"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not change what is searched: names, places, and who is told.

    ``strict_data``: the data set was asked for by name, no embedded data instead. ``quiet``: nothing is printed;
    ``json``: an event a line on standard output. ``command`` is kept in study.yaml. ``resume``: the
    study of that name goes on, with ``retry_errored`` trials that crashed too. ``warm_start``: a study of the same results whose
    front is tried first. ``repeats``: new seeds that every trial of the front is trained again with, 0 or from 2.
    """

    name: str | None = None
    results: Path = Path("results")
    data_root: Path | None = None
    strict_data: bool = False
    address: str | None = None
    tracking_uri: str | None = None
    experiment: str = "ratefront"
    warm_start: str | None = None
    quiet: bool = False
    json: bool = False
    command: str = ""
    resume: bool = False
    retry_errored: bool = False
    repeats: int = 0


def run(space: Space, settings: Settings | None = None, folder: StudyFolder | None = None) -> Front:
    """Search, and return the front; ``Front.interrupted`` where Ctrl-C ended it early.

    ``folder``: one that was taken already, in place of ``settings.results`` and ``settings.name``.

    SpaceError, TaskError, DataMissing, KnobError and StudyError for what a user can mend, ConnectionError where the
    cluster does not answer; a study that ends before its first trial leaves nothing behind.
    """
    settings = settings or Settings()
    name = settings.name or dated_name(space.name)
    taken = folder or StudyFolder(settings.results, name, settings.command, settings.resume, space.name)
    try:
        study = _Study(space, settings, taken)
        try:
            front = study.search()
            if study.tracking.ledger.behind or study.failures.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return front
        finally:
            study.close()
    except Exception as error:
        check_full(error, taken.path)
        raise
    finally:
        taken.discard()


class _Study:
    """One run."""

    def __init__(self, space: Space, settings: Settings, folder: StudyFolder) -> None:
        self.space, self.folder, self.started = space, folder, time.time()
        self.settings = settings
        self.view = _view(settings)
        self.say = self.view.say
        self.warm = read_front(folder.root / settings.warm_start) if settings.warm_start else None
        if not folder.resumed:
            write_text(folder.study_yaml, study_text(space, folder.head(), {}))
        ledger = Ledger(folder.path / LEDGER, self.say)
        self.past = Past(entry for entry, _ in entries(ledger.path))
        self.cluster = Cluster(settings.address, self._end_without_ray)
        uri, where = record_place(settings.tracking_uri, folder.root, self.say, record_of(folder.path))
        card = TrackingCard(folder.name, settings.experiment, where)
        self.recorder = Recorder(folder.path, uri, card, self.say)
        self.tracking = Tracking(ledger, self.recorder)
        self.tracking.resume(self.past.lines)
        self.failures = Failures(folder.path, self.say)
        self.planner = Planner(
            space, data_root(settings.data_root), settings.strict_data, self.cluster, folder, self.say, self.started
        )

    def search(self) -> Front:
        """From data to front."""
        import ray

        plan = self._warmed(self.planner.plan())
        space, dense, folder = plan.opened.space, plan.reference(), self.folder.path
        self._announce(plan, dense)
        scale = Scale(list(space.file.objectives), dense, plan.opened.task.chance)
        about: dict[str, Any] = {"data": plan.opened.data_used, "split": plan.opened.task.data.split}
        about |= {"constraints": space.file.constraints.model_dump(exclude_none=True)}
        about |= {"space": space.name, "network": space.task.network, "tracking": self.recorder.uri}
        archive = Archive(folder, space.file.objectives, scale, space.file.budget.epochs, about, space.file.keep)
        history = archive.replay(self.past.lines)
        self.past.lines.clear()  # as long as the search has been
        ground = ray.put(plan.ground(folder))
        self.folder.keep()
        interrupted = self._tune(plan, ground, archive, history)

        def test(paths: list[str]) -> list[float]:
            return self.cluster.call(test_accuracy, [(ground, n) for n in [plan.dense.state, *paths]], plan.per_trial)

        front = conclude(archive, dense, test, self.say)
        rows = networks_of(folder)
        write_epochs(folder, rows)
        about |= {"marks": trial_marks(rows, space.file.objectives, scale.chance + NEAR_CHANCE)}
        front = self._repeated(replace(front, interrupted=interrupted), plan, ground)
        about |= {"trials": len(archive.trials), "failed": sum(r["end"] == "failed" for r in archive.trials.values())}
        about |= {"shares": shares(front.members, scale)} if space.file.methods else {}
        about |= {
            "study_id": self.tracking.study_id,
            "refused": self.preflight.refused,
            "at_rest": self.preflight.over(),
        }
        front = replace(front, about=about)
        self.tracking.finish(front, files_of(front), sum(row["epoch"] for row in archive.trials.values()))
        return front

    def _repeated(self, front: Front, plan: Plan, ground: Any) -> Front:
        """With what other seeds make of its members; none are tried of a search that was interrupted."""

        def train(jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
            work = [(ground, dict(job.config), job.epochs) for job in jobs]
            return self.cluster.each(retrain, work, plan.per_trial, plan.until(self.started))

        count = 0 if front.interrupted else self.settings.repeats
        front = repeated(front, count, train, self.tracking, self.say)
        rewrite(front)
        return front

    def close(self) -> None:
        """Leave nothing running; a second Ctrl-C waits for no record."""
        self.view.close()
        self.recorder.close(1.0 if isinstance(sys.exc_info()[1], KeyboardInterrupt) else 30.0)
        self.cluster.close()

    def _warmed(self, plan: Plan) -> Plan:
        """With the points of another study's front before the space's own."""
        if self.warm is None:
            return plan
        space, line = fitted(plan.opened.space, self.warm)
        self.say(line)
        return replace(plan, opened=replace(plan.opened, space=space))

    def _announce(self, plan: Plan, plain: Mapping[str, Any]) -> None:
        """To the user, to study.yaml, and to the record."""
        opened, dense = plan.opened, plan.dense
        self.say(dense_line(opened.task, dense))
        space, data = opened.space, opened.task.data
        reference = {"accuracy": dense.accuracy, "weights": dense.weights, "size": dense.size, "gops": dense.gops}
        found = {"data_used": opened.data_used, "split": data.split, "start": dense.origin, "dense": reference}
        text = study_text(space, self.folder.head(), found)
        self._check_same(text)
        write_text(self.folder.study_yaml, text)
        objectives = space.file.objectives
        tags = {"data": opened.data_used, "split": data.split}
        facts = {"name": self.folder.name, "folder": str(self.folder.path), "space": space.name}
        self.view.tell("study", {**facts, "objectives": dict(objectives), **tags, "dense": reference})
        self.tracking.expect(list(objectives), space.file.budget.epochs, tags)
        params: dict[str, Any] = {
            "space": space.name,
            "chance": opened.task.chance,
            "input_shape": list(data.input_shape),
            "train_images": min(len(data.train), space.file.budget.images or len(data.train)),
        }
        params["objectives"] = ",".join(f"{name}:{way}" for name, way in objectives.items())
        params |= {f"dense_{name}": value for name, value in plain.items()} | {"dense_weights": dense.weights}
        self.tracking.begin(params, {**study_tags(space), **tags, "start": dense.origin}, [self.folder.study_yaml.name])
        if rungs := space.file.budget.rungs:
            stops = ", ".join(map(str, milestones(rungs, space.file.budget.epochs)))
            kept = ", and with it all of the front" if rungs.protect == "all" else ""
            self.say(f"at epochs {stops} one trial in {rungs.factor} goes on{kept}")
        for line in advice(space, plan.price, plan.concurrent, plan.device):
            self.say(line)

    def _check_same(self, text: str) -> None:
        """StudyError where a study that goes on is not the one that began."""
        if "data_used" in self.folder.previous and (found := differences(self.folder.previous, yaml.safe_load(text))):
            more = f", and {len(found) - 5} more" if len(found) > 5 else ""
            raise StudyError(f"resume = {self.folder.name!r}: it is another study: {'; '.join(found[:5])}{more}")

    def _tune(self, plan: Plan, ground: Any, archive: Archive, history: list[float]) -> bool:
        """Run Ray Tune to its end; True where it was interrupted."""
        from ray import tune
        from ray.tune.logger import JsonLoggerCallback
        from ray.tune.search import ConcurrencyLimiter

        space, clock = plan.opened.space, plan.clock(self.started, self.settings.repeats)
        trainable = tune.with_parameters(trainables.load(space.file.method, space.file.methods), ground=ground)
        preflight = self.preflight = Preflight(
            archive, space.file.constraints, plan.opened.task.build(), space.file.budget.patience
        )
        preflight.history = history
        searcher = StudySearch(
            space, open_storage(self.folder.path), clock, plan.concurrent, self.folder.path, preflight, archive.scale
        )
        self.say(str(searcher.choice))
        progress = Progress(archive, clock, space.trials, self.view)
        retry = self.settings.retry_errored
        waiting, fresh = resumed(searcher, self.past, archive, self.tracking, space.trials, self.say, retry)
        if not waiting and not fresh:
            return False
        told = [self.tracking, archive, preflight, self.failures, progress, JsonLoggerCallback(), Shedding()]
        tuner = tune.Tuner(
            tune.with_resources(trainable, dict(plan.per_trial)),
            tune_config=tune.TuneConfig(
                search_alg=Continuing(ConcurrencyLimiter(searcher, max_concurrent=plan.concurrent), waiting),
                scheduler=ParetoASHA(clock, searcher, archive.scale),
                num_samples=len(waiting) + fresh,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"{trial.config['method']}_{trial.trial_id}",
                trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=self.folder.name,
                storage_path=str(self.folder.root),
                callbacks=told,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
                failure_config=tune.FailureConfig(max_failures=2),
                verbose=0,
            ),
        )
        quiet_when_full(self.folder.path)
        hush()
        try:
            with interruptible() as was_interrupted:
                tuner.fit()
        finally:
            self.view.close()
        return was_interrupted()

    def _end_without_ray(self) -> None:
        """One line in place of Ray's pages; whatever waits for an answer of Ray's would wait for ever."""
        self.view.close()
        rule = f"--resume {self.folder.name} goes on from there"
        print(f"ratefront: Ray's node on this machine has died (killed, or no memory left); {rule}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)


def _view(settings: Settings) -> View:
    """A live display where standard output is a terminal that can show it, else plain lines."""
    if settings.json:
        return Events()
    live = not settings.quiet and is_terminal(sys.stdout)
    return Display() if live else Lines(speaker(settings.quiet))
