"""Members of a front as versions of a registered model: in a database, at a real server, and out of them again."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from analysis.__main__ import main
from analysis.studies import open_study
from compress.artifact import decode, read
from tasks import load
from tests.analysis.conftest import record_study, smoke
from tests.search.serving import TrackingServer

pytestmark = pytest.mark.slow  # MLflow takes seconds to keep a model
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".dill")


@pytest.fixture
def register(recorded, capsys):
    """Call the command where studies are: (exit code, lines of output, lines of errors)."""

    def call(*words):
        capsys.readouterr()
        code = main(["register", *words])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def client(root):
    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def answers(model, version, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of its type hints
        import mlflow.pyfunc
    return mlflow.pyfunc.load_model(f"models:/{model}/{version}").predict(pictures)


def check_answers(folder, model, version, number):
    """The registered model answers as the file does, whose network wants normalised pictures."""
    point = open_study(str(folder), folder.parent)[number - 1]
    pictures = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    table = answers(model, version, pictures)
    assert list(table.columns) == [str(n) for n in range(10)]
    told = decode(read(point.file)).card["normalisation"]
    with torch.inference_mode():
        expected = load(str(point.file))((torch.from_numpy(pictures) - told["mean"][0]) / told["std"][0])
    assert np.allclose(table.to_numpy(), expected.numpy(), atol=1e-5)


def test_every_member_is_a_version_that_can_be_had(register, recorded, recorded_studies):
    code, lines, err = register("first", "--name", "all")
    assert (code, err) == (0, [])
    points = open_study("first", recorded / "results")
    assert [line.split()[:2] for line in lines[:-1]] == [[f"all/{p.number}", f"{p.name}:"] for p in points]
    assert 'load_model("models:/all/VERSION")' in lines[-1]
    for point in points:
        tags = client(recorded_studies).get_model_version("all", str(point.number)).tags
        assert (tags["point"], tags["number"], tags["rank"]) == (point.name, str(point.number), "0")
        assert (float(tags["accuracy"]), float(tags["size"])) == (point.row["accuracy"], point.row["size_bytes"])
        assert json.loads(tags["knobs"])["max_bits"] == point.row["config"]["max_bits"]
        assert (tags["study"], tags["trial"], tags["method"]) == ("first", point.row["trial_id"], "deadzone")
        assert float(tags["gops"]) > 0
    check_answers(recorded / "results" / "first", "all", len(points), len(points))


def test_what_is_logged_is_code_and_the_file_alone(register, recorded_studies, tmp_path):
    register("second", "1", "--name", "plain")
    (version,) = client(recorded_studies).search_model_versions("name = 'plain'")
    listed, waiting = [], [f"models/{version.tags['point']}"]
    while waiting:
        for file in client(recorded_studies).list_artifacts(version.run_id, waiting.pop()):
            (waiting if file.is_dir else listed).append(file.path)
    names = sorted(path.rpartition("/")[2] for path in listed)
    expected = ["MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "served.py"]
    assert names == sorted([*expected, f"{version.tags['point']}.rf"])
    assert not [name for name in names if name.endswith(PICKLES)]
    for path in listed:
        with open(client(recorded_studies).download_artifacts(version.run_id, path, str(tmp_path)), "rb") as file:
            assert file.read(2)[:1] != b"\x80"  # a pickle's first byte, of every protocol from 2


def test_a_second_time_nothing_is_added(register, recorded_studies):
    first = register("first", "1", "--name", "twice")[1]
    code, lines, _ = register("first", "1", "--name", "twice")
    assert (code, lines[0]) == (0, first[0].partition(":")[0] + ": is there already")
    assert len(client(recorded_studies).search_model_versions("name = 'twice'")) == 1
    register("second", "1", "--name", "twice")
    assert len(client(recorded_studies).search_model_versions("name = 'twice'")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "study = 'gone': not in MLflow at "),
        (["first", "99"], "point = '99': must be a number from 1 to "),
        (["first", "--name", "a/b"], "name = 'a/b': must be 1 to 256 characters without"),
        (["first", "--name", ""], "name = '': must be 1 to 256 characters without"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(register, words, message):
    code, out, err = register(*words)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"ratefront: {message}")


def test_a_real_server_has_them_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = TrackingServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        record_study(tmp_path / "mine", smoke(), [{"max_bits": 8}], tmp_path)
        for _ in range(2):
            assert main(["register", "mine", "1"]) == 0
        out, err = capsys.readouterr()
        assert (err, [line.split()[0] for line in out.splitlines()[::2]]) == ("", ["mine/1", "mine/1"])
        check_answers(tmp_path / "mine", "mine", 1, 1)
    finally:
        server.kill()
