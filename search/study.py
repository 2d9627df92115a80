"""A space becomes a study: data and dense network, Ray Tune over Optuna, the record, the front."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainables
from analysis.pareto import Scale
from search.archive import ARTIFACTS, Archive, write_text
from search.clock import Clock, DeadlineScheduler
from search.cluster import Cluster
from search.ending import conclude, files_of
from search.front import Front
from search.ground import Opened, advice, dense_line, open_embedded, open_space, plain_dense
from search.interrupt import interruptible
from search.progress import Progress, speaker
from search.record import study_tags, study_text
from search.recorder import Recorder
from search.searcher import StudySearch, open_storage
from search.tracking import Tracking, TrackingCard, tracking_uri
from search_spaces import Space
from tasks.downloads import data_root
from trainables.base import Ground, recipe_of
from trainables.dense import Dense, Price, StartTooLong, make_dense, price_of
from trainables.verdict import test_accuracy

__all__ = ["Settings", "StudyError", "run"]

_MEMBERS_TO_TEST = 12  # a guess made before the search, to keep time for testing the front


class StudyError(ValueError):
    """A study that cannot begin: its name is taken, or its resources are not there."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not change what is searched: names, places, and who is told.

    ``strict_data``: the data set was asked for by name, no embedded data instead. ``command`` is kept in study.yaml.
    """

    name: str | None = None
    results: Path = Path("results")
    data_root: Path | None = None
    strict_data: bool = False
    address: str | None = None
    tracking_uri: str | None = None
    experiment: str = "ratefront"
    quiet: bool = False
    command: str = ""


def run(space: Space, settings: Settings | None = None) -> Front:
    """Search, and return the front; ``Front.interrupted`` where Ctrl-C ended it early.

    SpaceError, TaskError, DataMissing, KnobError and StudyError for what a user can mend, ConnectionError where the
    cluster does not answer; a study that ends before its first trial leaves nothing behind.
    """
    study = _Study(space, settings or Settings())
    try:
        return study.search()
    finally:
        study.close()


@dataclass(frozen=True)
class _Plan:
    """What is known when the first trial starts. ``device`` is what a trial uses, no longer auto."""

    opened: Opened
    dense: Dense
    price: Price
    per_trial: Mapping[str, float]
    concurrent: int
    device: str


class _Study:
    """One run."""

    def __init__(self, space: Space, settings: Settings) -> None:
        self.space, self.settings, self.started = space, settings, time.time()
        self.say = speaker(settings.quiet)
        self.root = settings.results.expanduser().absolute()
        self.name = settings.name or f"{space.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self.folder = _new_folder(self.root, self.name)
        self.study_yaml = self.folder / "study.yaml"
        write_text(self.study_yaml, study_text(space, settings.command, {}))
        uri = tracking_uri(settings.tracking_uri, self.root)
        self.recorder, self.cluster = Recorder(uri, self.say), Cluster(settings.address)
        where = None if settings.tracking_uri else (self.root / "mlartifacts").as_uri()
        self.tracking = Tracking(self.recorder, TrackingCard(self.name, settings.experiment, where))
        self.began = False

    def search(self) -> Front:
        """From data to front."""
        import ray

        plan = self._prepare()
        space, dense = plan.opened.space, plain_dense(plan.dense)
        scale = Scale(list(space.file.objectives), dense, plan.opened.task.chance)
        about: dict[str, Any] = {"data": plan.opened.data_used, "split": plan.opened.task.data.split}
        about |= {"space": space.name, "network": space.task.network, "tracking": self.recorder.uri}
        archive = Archive(self.folder, space.file.objectives, scale, space.file.budget.epochs, about)
        ground = ray.put(self._ground(plan))
        self.began = True
        interrupted = self._tune(plan, ground, archive)

        def test(paths: list[str]) -> list[float]:
            return self.cluster.call(test_accuracy, [(ground, n) for n in [plan.dense.state, *paths]], plan.per_trial)

        front = conclude(archive, dense, test, self.say)
        about |= {"trials": len(archive.trials), "failed": sum(r["end"] == "failed" for r in archive.trials.values())}
        front = replace(front, interrupted=interrupted, about=about)
        self.tracking.finish(front, files_of(front), sum(row["epoch"] for row in archive.trials.values()))
        return front

    def close(self) -> None:
        """Leave nothing running, and nothing behind of a study that never began."""
        self.recorder.close()
        self.cluster.close()
        if not self.began:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> _Plan:
        """The data are read while Ray and MLflow start; then the dense network, and what a trial costs."""
        settings = self.settings
        root = data_root(settings.data_root)
        reading = _aside(open_space, self.space, root, settings.strict_data, self.say)
        self.cluster.connect()  # in this thread: Ray's processes end with the thread that started them
        opened = reading.result()
        self._check_shared()
        try:
            return self._plan(opened)
        except StartTooLong as error:
            if settings.strict_data or not opened.space.file.embedded:
                raise
            return self._plan(open_embedded(opened.space, root, str(error), self.say))

    def _plan(self, opened: Opened) -> _Plan:
        """Resources, the dense network, and what a trial costs."""
        space = opened.space
        try:
            per_trial = self.cluster.per_trial(space.file.resources)
            concurrent = self.cluster.concurrency(per_trial, space.file.resources.concurrent)
        except ValueError as error:
            raise StudyError(str(error)) from error
        device = self.cluster.device(space.file.resources, per_trial)
        wall = space.file.budget.wall_time
        until = None if wall is None else self.started + wall
        dense, price = self._measured(opened, per_trial, device, until)
        self._announce(opened, dense)
        for line in advice(space, price, concurrent, device):
            self.say(line)
        return _Plan(opened, dense, price, per_trial, concurrent, device)

    def _check_shared(self) -> None:
        """Workers write every network into the study's folder, wherever they run."""
        seen = self.cluster.local or self.cluster.call(_is_folder, [(str(self.folder),)], {"cpu": 0, "gpu": 0})[0]
        if not seen:
            rule = "must lie on a file system that all nodes of the cluster share"
            raise StudyError(f"results = {str(self.root)!r}: {rule}")

    def _measured(
        self, opened: Opened, per_trial: Mapping[str, float], device: str, until: float | None
    ) -> tuple[Dense, Price]:
        """The dense network and the price of a trial: here, or where trials run when that is elsewhere or on a GPU."""
        start = (opened.task, opened.start, opened.space.file.seed, device)
        price = (opened.task, recipe_of(_first_config(opened.space)), device, per_trial["cpu"])
        if self.cluster.local and not per_trial["gpu"]:
            return make_dense(*start, self.say, until), price_of(*price)
        if opened.start.state is None:
            self.say(
                f"no trained {opened.task.spec.network} is given: training it on the cluster where it is not kept there"
            )
        dense = self.cluster.call(make_dense, [(*start, print, until)], per_trial)[0]
        return dense, self.cluster.call(price_of, [price], per_trial)[0]

    def _announce(self, opened: Opened, dense: Dense) -> None:
        """To the user, to study.yaml, and to the record."""
        self.say(dense_line(opened.task, dense))
        space, data = opened.space, opened.task.data
        reference = {"accuracy": dense.accuracy, "weights": dense.weights, "size": dense.size, "gops": dense.gops}
        found = {"data_used": opened.data_used, "split": data.split, "start": dense.origin, "dense": reference}
        write_text(self.study_yaml, study_text(space, self.settings.command, found))
        objectives = space.file.objectives
        tags = {"data": opened.data_used, "split": data.split}
        self.tracking.expect(list(objectives), space.file.budget.epochs, tags)
        params: dict[str, Any] = {
            "space": space.name,
            "chance": opened.task.chance,
            "input_shape": list(data.input_shape),
        }
        params["objectives"] = ",".join(f"{name}:{way}" for name, way in objectives.items())
        params |= {f"dense_{name}": value for name, value in plain_dense(dense).items()} | {
            "dense_weights": dense.weights
        }
        self.tracking.begin(params, {**study_tags(space), **tags, "start": dense.origin}, self.study_yaml)

    def _clock(self, plan: _Plan) -> Clock:
        """The wall time, less what testing the front will take."""
        wall = plan.opened.space.file.budget.wall_time
        if wall is None:
            return Clock(None, plan.price.trial_seconds, self.started)
        testing = 8 + _MEMBERS_TO_TEST * plan.price.test_seconds / plan.concurrent
        return Clock(self.started + wall - min(testing, wall / 4), plan.price.trial_seconds, self.started)

    def _ground(self, plan: _Plan) -> Ground:
        scratch = plan.opened.start.kind == "scratch"
        return Ground(
            task=plan.opened.task,
            start=None if scratch else plan.dense.state,
            artifacts=str(self.folder / ARTIFACTS),
            device=plan.device,
            cpus=plan.per_trial["cpu"],
        )

    def _tune(self, plan: _Plan, ground: Any, archive: Archive) -> bool:
        """Run Ray Tune to its end; True where it was interrupted."""
        from ray import tune
        from ray.tune.logger import JsonLoggerCallback
        from ray.tune.search import ConcurrencyLimiter

        space, clock = plan.opened.space, self._clock(plan)
        trainable = tune.with_parameters(trainables.load(space.file.method), ground=ground)
        searcher = StudySearch(space, open_storage(self.folder), clock, plan.concurrent)
        progress = Progress(archive, clock, space.trials, self.say)
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
                name=self.name,
                storage_path=str(self.root),
                callbacks=[archive, self.tracking, progress, JsonLoggerCallback()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
                failure_config=tune.FailureConfig(max_failures=2),
                verbose=0,
            ),
        )
        with interruptible() as was_interrupted:
            tuner.fit()
        return was_interrupted()


def _new_folder(root: Path, name: str) -> Path:
    folder = root / name
    if "/" in name or name in ("", ".", ".."):
        raise StudyError(f"name = {name!r}: must be a plain folder name")
    try:
        folder.mkdir(parents=True)
        (folder / ARTIFACTS).mkdir()
    except FileExistsError as error:
        raise StudyError(f"name = {name!r}: {folder} exists; choose another --name") from error
    except OSError as error:
        raise StudyError(f"results = {str(root)!r}: cannot be written ({error.strerror})") from error
    return folder


def _is_folder(path: str) -> bool:
    return Path(path).is_dir()


def _first_config(space: Space) -> dict[str, Any]:
    """A config to measure with: every knob at the first end of its domain."""
    return space.config(space.point(lambda name, domain: domain.probes()[0]))


def _aside(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Run in a thread that no one waits for when the program is told to end."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
