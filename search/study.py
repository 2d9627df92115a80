"""A space becomes a study: data and dense network, Ray Tune over Optuna, the record, the front."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainables
from analysis.pareto import Scale
from search.archive import ARTIFACTS, Archive, write_text
from search.clock import Clock, DeadlineScheduler
from search.cluster import Cluster
from search.front import Front
from search.ground import Opened, advice, dense_line, open_space, plain_dense
from search.progress import Progress, speaker
from search.record import study_tags, study_text
from search.recorder import Recorder
from search.searcher import StudySearch, open_storage
from search.tracking import Tracking, TrackingCard, tracking_uri
from search_spaces import Space
from tasks.downloads import data_root
from trainables.base import Ground, recipe_of
from trainables.dense import Dense, Price, make_dense, price_of
from trainables.verdict import test_accuracy

__all__ = ["Settings", "StudyError", "run"]

_MEMBERS_TO_TEST = 12  # a guess made before the search, to keep time for testing the front


class StudyError(ValueError):
    """A study that cannot begin: its name is taken, or its resources are not there."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not change what is searched: names, places, and who is told.

    ``picture`` draws a front into a file (``analysis.plots.draw_front``). ``strict_data``: no embedded data instead.
    """

    name: str | None = None
    results: Path = Path("results")
    data_root: Path | None = None
    strict_data: bool = False
    address: str | None = None
    tracking_uri: str | None = None
    experiment: str = "ratefront"
    quiet: bool = False
    picture: Callable[[Front, Path], None] | None = None
    command: str = ""


def run(space: Space, settings: Settings | None = None) -> Front:
    """Search, and return the front; ``Front.interrupted`` where Ctrl-C ended it early.

    SpaceError, TaskError, DataMissing and StudyError for what a user can mend; nothing is left behind then.
    """
    study = _Study(space, settings or Settings())
    try:
        return study.search()
    except ValueError:
        study.discard()
        raise
    finally:
        study.close()


@dataclass(frozen=True)
class _Plan:
    """What is known when the first trial starts."""

    opened: Opened
    dense: Dense
    price: Price
    per_trial: Mapping[str, float]
    concurrent: int


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

    def search(self) -> Front:
        """From data to front."""
        plan = self._prepare()
        space, dense = plan.opened.space, plan.dense
        scale = Scale(list(space.file.objectives), plain_dense(dense), plan.opened.task.chance)
        archive = Archive(self.folder, space.file.objectives, scale, space.file.budget.epochs)
        clock = self._clock(plan)
        import ray

        ground = ray.put(self._ground(plan))
        interrupted = self._tune(plan, ground, archive, clock)
        return self._conclude(plan, ground, archive, interrupted)

    def discard(self) -> None:
        """Remove a study that never began."""
        if not any((self.folder / ARTIFACTS).iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave nothing running."""
        self.recorder.close()
        self.cluster.close()

    def _prepare(self) -> _Plan:
        """The data are read while Ray and MLflow start; on this machine the dense network is made here."""
        settings = self.settings
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(open_space, self.space, data_root(settings.data_root), settings.strict_data, self.say)
            self.cluster.connect()  # in this thread: Ray's processes end with the thread that started them
            opened = reading.result()
        space, device, here = opened.space, opened.space.file.resources.device, self.cluster.local
        try:
            per_trial = self.cluster.per_trial(space.file.resources)
            concurrent = self.cluster.concurrency(per_trial, space.file.resources.concurrent)
        except ValueError as error:
            raise StudyError(str(error)) from error
        recipe = recipe_of(_middle(space))
        job = (opened.task, opened.start, space.file.seed, device)
        dense = make_dense(*job, self.say) if here else self.cluster.call(make_dense, [job], per_trial)[0]
        measure = (opened.task, recipe, device, per_trial["cpu"])
        price = price_of(*measure) if here else self.cluster.call(price_of, [measure], per_trial)[0]
        self._announce(opened, dense)
        for line in advice(space, price, concurrent, device):
            self.say(line)
        return _Plan(opened, dense, price, per_trial, concurrent)

    def _announce(self, opened: Opened, dense: Dense) -> None:
        """To the user, to study.yaml, and to the record."""
        self.say(dense_line(opened.task, dense))
        reference = {"accuracy": dense.accuracy, "weights": dense.weights, "size": dense.size, "gops": dense.gops}
        found = {
            "data_used": opened.data_used,
            "split": opened.task.data.split,
            "start": dense.origin,
            "dense": reference,
        }
        write_text(self.study_yaml, study_text(opened.space, self.settings.command, found))
        objectives = list(opened.space.file.objectives)
        self.tracking.expect(objectives, opened.space.file.budget.epochs)
        params: dict[str, Any] = {
            "space": opened.space.name,
            "split": opened.task.data.split,
            "objectives": ",".join(objectives),
        }
        params |= {f"dense_{name}": value for name, value in reference.items()}
        tags = {**study_tags(opened.space, opened.data_used), "start": dense.origin}
        self.tracking.begin(params, tags, self.study_yaml)

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
            device=plan.opened.space.file.resources.device,
            cpus=plan.per_trial["cpu"],
        )

    def _tune(self, plan: _Plan, ground: Any, archive: Archive, clock: Clock) -> bool:
        """Run Ray Tune to its end; True where it was interrupted."""
        from ray import tune
        from ray.tune.logger import JsonLoggerCallback
        from ray.tune.search import ConcurrencyLimiter

        space = plan.opened.space
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
        with _interruptible() as was_interrupted:
            tuner.fit()
        return was_interrupted()

    def _conclude(self, plan: _Plan, ground: Any, archive: Archive, interrupted: bool) -> Front:
        """Test the members, write the files, close the record."""
        archive.sweep()
        front = archive.front(plain_dense(plan.dense))
        paths = [str(self.folder / m.artifact) for m in front]
        tested = self.cluster.call(
            test_accuracy, [(ground, n) for n in [plan.dense.state, *paths]], dict(plan.per_trial)
        )
        dense = {**front.dense, "test_accuracy": tested[0]}
        about = {"data_used": plan.opened.data_used, "trials": len(archive.trials), "tracking": self.recorder.uri}
        about |= {
            "space": plan.opened.space.name,
            "network": plan.opened.task.spec.network,
            "split": plan.opened.task.data.split,
        }
        front = front.tested(dict(zip([m.artifact for m in front], tested[1:], strict=True)))
        front = replace(front, dense=dense, interrupted=interrupted, about=about)
        files = self._write(front, archive)
        spent = sum(row["epoch"] for row in archive.trials.values())
        self.tracking.finish(
            front, files, {"hypervolume": front.hypervolume, "front_size": len(front), "epochs_spent": spent}
        )
        return front

    def _write(self, front: Front, archive: Archive) -> list[Path]:
        texts = {"front.json": front.json(), "front.csv": front.csv(), "trials.csv": archive.trials_csv()}
        for name, text in texts.items():
            write_text(self.folder / name, text)
        files = [self.folder / name for name in texts]
        if self.settings.picture and len(front):
            self.settings.picture(front, self.folder / "front.png")
            files.append(self.folder / "front.png")
        return files


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


def _middle(space: Space) -> dict[str, Any]:
    """A config to measure with: every knob at the first end of its domain."""
    return space.config(space.point(lambda name, domain: domain.probes()[0]))


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C ended Ray Tune: it puts back the handler it found only when it has taken the signal itself."""

    def ours(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ours)
    seen: list[bool] = []
    try:
        yield lambda: seen[0]
    finally:
        seen.append(signal.getsignal(signal.SIGINT) is ours)
        signal.signal(signal.SIGINT, before)
