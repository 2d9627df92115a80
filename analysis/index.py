"""MLflow's index of models: networks of a front become versions of a registered model, each made of code and its compressed file.

The one command that writes to a study's record, and only when asked: a folder ``models/<point>`` in its parent run, and versions.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.choice import named
from analysis.records import Record, read_record
from analysis.server import Server, Study
from analysis.studies import FRONT, BadStudy, Point, pick
from compress.artifact import Artifact, ArtifactError, decode, read

__all__ = ["register"]

_CODE = Path(__file__).with_name("served.py")
_NEEDS = ("ratefront", "torch", "numpy", "pandas")
_MOST = 5000  # characters of a tag, as MLflow has it
_METRICS = ("accuracy", "test_accuracy", "size", "rate", "gops")


def register(server: Server, study: Study, points: Sequence[str], name: str | None) -> Iterator[str]:
    """Enter these points of a study's front (all where there are none), a line each; what is there already stays as it is.

    BadStudy for points that are not there, a study that has left no files yet, a name that MLflow does not take.
    """
    from mlflow.tracking import MlflowClient

    record, model = read_record(server, study), study.name if name is None else name
    wanted = _wanted(record, points)
    client = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    known = _known(client, server.uri, model, study)
    for number, row in wanted:
        point = named(row)
        if point in known:
            yield f"{model}/{known[point]}  {point}: is there already"
            continue
        if row["trial_id"] not in record.trials.index:
            raise BadStudy(f"study = {study.name!r}: its record has lost the run of trial {row['trial_id']}")
        version = _entered(server, client, (model, study), record.trials.loc[row["trial_id"]], (number, row))
        yield f"{model}/{version}  {point}: accuracy {row['accuracy']:.2%}, {row['size']:,.0f} bytes"
    yield f'mlflow.set_tracking_uri("{server.uri}"); mlflow.pyfunc.load_model("models:/{model}/VERSION").predict(pictures)'


def _wanted(record: Record, words: Sequence[str]) -> list[tuple[int, Any]]:
    """(number from 1, row) of the points of these numbers or names."""
    rows = [row for _, row in record.front.iterrows()]
    if not rows:
        raise BadStudy(f"study = {record.name!r}: its front is empty")
    if not all(isinstance(row["artifact"], str) for row in rows):
        raise BadStudy(f"study = {record.name!r}: its record has no {FRONT}; the search has not ended")
    points = [Point(n, Path(record.name), {"artifact": row["artifact"]}) for n, row in enumerate(rows, 1)]
    chosen = [pick(points, word) for word in words] or points
    return [(n, rows[n - 1]) for n in dict.fromkeys(point.number for point in chosen)]


def _known(client: Any, uri: str, model: str, study: Study) -> dict[str, int]:
    """By point the version that it has; the registered model is made where there is none."""
    from mlflow.exceptions import MlflowException

    if not model or any(c in model for c in "/:'\"\\") or len(model) > 256:
        raise BadStudy(f"name = {model[:80]!r}: must be 1 to 256 characters without / : ' \" and \\")
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise _refused(uri, error) from error
    found = _asked(uri, lambda: list(_pages(client, f"name = '{model}'")))
    return {v.tags["point"]: v.version for v in found if v.tags.get("study_run") == study.run_id and "point" in v.tags}


def _pages(client: Any, rule: str) -> Iterator[Any]:
    token: str | None = None
    while token != "":
        page = client.search_model_versions(rule, page_token=token)
        yield from page
        token = page.token or ""


def _entered(server: Server, client: Any, place: tuple[str, Study], trial: Any, member: tuple[int, Any]) -> int:
    """The version of a new member: its files in the study's run first, then the version that points there."""
    (model, study), (number, row) = place, member
    tags = _tags(study, trial, number, row)
    path = server.file(study, row["artifact"])
    if path is None:
        raise BadStudy(f"study = {study.name!r}: its record has no {row['artifact']}")
    try:
        artifact = decode(read(path))
    except ArtifactError as error:
        raise BadStudy(f"{row['artifact']}: {error}") from error
    inside = f"models/{named(row)}"
    with tempfile.TemporaryDirectory(prefix="ratefront-") as folder:
        _save(Path(folder) / "model", path, artifact)
        _asked(server.uri, lambda: client.log_artifacts(study.run_id, str(Path(folder) / "model"), inside))
    source = f"runs:/{study.run_id}/{inside}"
    made = _asked(server.uri, lambda: client.create_model_version(model, source, run_id=study.run_id, tags=tags))
    return int(made.version)


def _tags(study: Study, trial: Any, number: int, row: Any) -> dict[str, str]:
    """What the index can be searched by: the member's metrics, where it comes from, its knobs as JSON."""
    drawn = trial.drop(["method", "seed", "end", "reason", "epochs"]).dropna()
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in drawn.items()}
    found = {name: row[name] for name in _METRICS if row[name] == row[name]}
    found |= {"point": named(row), "number": number, "rank": 0, "trial": row["trial_id"], "epoch": row["epoch"]}
    found |= {"study": study.name, "study_run": study.run_id, "method": trial["method"]}
    knobs = json.dumps(plain)
    return {name: str(value) for name, value in found.items()} | ({"knobs": knobs} if len(knobs) <= _MOST else {})


def _save(folder: Path, file: Path, artifact: Artifact) -> None:
    """MLflow's own folder of a model from code."""
    shape, classes = (-1, *artifact.card["input_shape"]), [str(name) for name in artifact.card["classes"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyfunc warns of its own type hints, and asks for an example of the input
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema, TensorSpec

        inputs, outputs = [TensorSpec(np.dtype(np.float32), shape)], [ColSpec("float", name) for name in classes]
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(_CODE),
            artifacts={"network": str(file)},
            signature=ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
            pip_requirements=list(_NEEDS),
        )


def _asked(uri: str, function: Callable[[], Any]) -> Any:
    """One line for whatever store or network raise."""
    try:
        return function()
    except Exception as error:
        raise _refused(uri, error) from error


def _refused(uri: str, error: Exception) -> BadStudy:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return BadStudy(f"MLflow at {uri}: does not take the model ({text})")
