"""Finished studies without Ray: real trials, in this process, offered to the archive that a search has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial

import trainables
from analysis.pareto import Scale
from search.archive import Archive
from search.delivery import TrackingCard
from search.epochs import EPOCHS, networks_of, trial_marks, write_epochs
from search.files import write_text
from search.folder import ARTIFACTS
from search.front import Front, Member
from search.ledger import LEDGER, Ledger
from search.record import study_tags, study_text
from search.recorder import Recorder
from search.tracking import Tracking, tracking_uri
from search_spaces import Space
from tasks import open_task
from trainables.base import Ground

OWN = """
import numpy as np
from torch import nn

from tasks import Arrays, Source


def network(input_shape, classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, classes)
    )


def data():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 2400)
    images = random.integers(0, 256, (2400, 3, 8, 8))
    images[np.arange(2400), labels % 3, labels, :] //= 2  # a dark line that noise hides from some
    train, test = (Arrays(images[part].astype(np.uint8), labels[part]) for part in (slice(0, 2100), slice(2100, None)))
    return Source(name="lines", train=train, test=test, classes=tuple("abcd"), std=(0.3,) * 3, mean=(0.5,) * 3, holdout=1200)
"""


def own_space(**task):
    given = {"network": "own_lines:network", "data": "own_lines:data", "start": "scratch", **task}
    optimizer = {"base": {"lr": 5e-3}, "dz": {"lr": 1e-2}, "bit": {"lr": 1e-2}}
    return Space.from_raw(
        "own", "own.yaml", {"method": "deadzone", "task": given, "budget": {"epochs": 2}, "optimizer": optimizer}
    )


def make_study(folder: Path, space: Space, points: Sequence[Mapping[str, Any]], tell: Sequence[Any] = ()) -> Path:
    """What a search of these trials, from random weights, leaves of its front; ``tell``: callbacks that hear of them too."""
    (folder / ARTIFACTS).mkdir(parents=True)
    task, _ = open_task(space.task, folder)
    ground = Ground(task=task, start=None, artifacts=str(folder / ARTIFACTS), device="cpu")
    found = {"data_used": task.data.name, "split": task.data.split}
    write_text(folder / "study.yaml", study_text(space, {"command": "a test"}, found))
    scale = Scale(list(space.file.objectives), {"accuracy": 1.0, "rate": 32.0}, task.chance)
    archive = Archive(folder, space.file.objectives, scale, space.file.budget.epochs, found)
    for number, point in enumerate(points):
        config, name = space.config(point), f"t{number}"

        class Grounded(trainables.load(space.file.method)):
            trial_id = name

            def setup(self, config):
                super().setup(config, ground=ground)

        trial, actor = Trial("trainable", config=config, trial_id=name, stub=True), Grounded(config=dict(config))
        for callback in tell:
            callback.on_trial_start(0, [trial], trial)
        for _ in range(space.file.budget.epochs):
            trial.run_metadata.last_result = result = actor.step()
            for callback in (archive, *tell):
                callback.on_trial_result(0, [trial], trial, result)
        for callback in tell:
            callback.on_trial_complete(0, [trial], trial)
    archive.sweep()
    return folder


@pytest.fixture(scope="session")
def kept_studies(tmp_path_factory):
    """Of digits that are embedded, and of pictures and a network of the user's."""
    root = tmp_path_factory.mktemp("kept")
    changes = {"budget.epochs": 3, "task.start": "scratch", "base.lr": 1e-2, "dz.lr": 1e-2, "bit.lr": 1e-2}
    make_study(root / "digits", Space.load("smoke", changes), [{"max_bits": bits} for bits in (8, 4, 2)])
    (root / "own_lines.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        make_study(root / "own", own_space(), [{}])
    return root


DENSE = {"accuracy": 1.0, "size": 75_256.0, "rate": 32.0, "gops": 3.72e-05}


def record_study(folder: Path, space: Space, points: Sequence[Mapping[str, Any]], root: Path) -> Path:
    """A study and its record in MLflow, at the root of the results, as a search leaves both."""
    folder.mkdir()
    ledger, card = Ledger(folder / LEDGER), TrackingCard(folder.name, "ratefront", (root / "mlartifacts").as_uri())
    recorder = Recorder(folder, tracking_uri(None, root), card, print)
    tracking = Tracking(ledger, recorder)
    tags = {"data": "digits", "split": "holdout-300"}
    params = {"objectives": "accuracy:max,rate:min", "chance": 0.1, "input_shape": [1, 8, 8], "train_images": 1197}
    tracking.expect(["accuracy", "rate"], space.file.budget.epochs, tags)
    tracking.begin({**params, **{f"dense_{k}": v for k, v in DENSE.items()}}, {**study_tags(space), **tags}, [])
    made = make_study(folder, space, points, [tracking])
    rows = json.loads((made / "front.json").read_text())
    networks = networks_of(made)
    write_epochs(made, networks)
    about = {"marks": trial_marks(networks, space.file.objectives, 0.15)}
    members = [
        Member(
            trial_id=row["trial_id"],
            epoch=row["epoch"],
            metrics={**row, "size": row["size_bytes"]},
            config=row["config"],
            artifact=row["artifact"],
        )
        for row in rows
    ]
    front = Front(members, space.file.objectives, {**DENSE, "test_accuracy": 0.9}, made, 0.25, about=about)
    tracking.finish(front, [made / name for name in ("front.json", EPOCHS, "study.yaml")], 9)
    assert recorder.close(120) == 0
    return made


def smoke(**changes):
    fast = {"budget.epochs": 3, "task.start": "scratch", "base.lr": 1e-2, "dz.lr": 1e-2, "bit.lr": 1e-2}
    return Space.load("smoke", {**fast, **changes})


@pytest.fixture(scope="session")
def recorded_studies(tmp_path_factory):
    """Two studies of digits, in MLflow too: ``first`` and ``second``."""
    root = tmp_path_factory.mktemp("recorded")
    record_study(root / "first", smoke(), [{"max_bits": bits} for bits in (8, 4)], root)
    record_study(root / "second", smoke(seed=1), [{"max_bits": 3}], root)
    return root


@pytest.fixture
def recorded(recorded_studies, tmp_path, monkeypatch):
    """A copy, where commands look for studies."""
    (tmp_path / "results").mkdir()
    for name in ("first", "second"):
        shutil.copytree(recorded_studies / name, tmp_path / "results" / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{recorded_studies / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def divided_space():
    task = {
        "network": {"name": "resnet20", "maps": 4},
        "data": "digits",
        "image_size": 16,
        "start": "scratch",
        "batch_size": 64,
    }
    fixed = {
        "codebooks": [
            {"layer": "layer1[1]", "hidden_dim": 3, "codebook_size": 8, "prune_epochs": [2], "prune_ns": [2]}
        ],
        "prune_channels": [{"layer": "layer1[0].conv1", "prune_epochs": [1, 2], "prune_ns": [0, 1]}],
        "PSNR": 12,
    }
    raw = {
        "method": "codebook",
        "task": task,
        "budget": {"epochs": 3},
        "fixed": fixed,
        "optimizer": {"base": {"lr": 1e-2}},
    }
    return Space.from_raw(
        "divided", "divided.yaml", {**raw, "objectives": {"accuracy": "max", "sent_bits_fixed": "min"}}
    )


@pytest.fixture(scope="session")
def divided(tmp_path_factory):
    """A study of one network between a device and a server."""
    return make_study(tmp_path_factory.mktemp("split") / "divided", divided_space(), [{}])


@pytest.fixture
def studies(kept_studies, tmp_path, monkeypatch):
    """A copy of them to spoil, where the user's module is found."""
    shutil.copytree(kept_studies, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def digits(studies):
    return studies / "digits"


@pytest.fixture
def own(studies):
    return studies / "own"


@pytest.fixture
def rewrite():
    """Change one member in a front.json, or its evaluation where it has no such key of its own."""

    def change(folder, number, **values):
        rows = json.loads((folder / "front.json").read_text())
        for key, value in values.items():
            where = rows[number - 1] if key in rows[number - 1] else rows[number - 1]["evaluation"]
            where[key] = value
        (folder / "front.json").write_text(json.dumps(rows))

    return change
