"""The command line: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import yaml

import tuner
from search_spaces import available

ROOT = Path(tuner.__file__).parent


def clean_environment():
    """Without what searches in this process have set for their Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "RAY_", "TUNE_"))}


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Call the command in an empty folder: (exit code, lines of output, lines of errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words):
        code = tuner.main(words)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def test_list_shows_every_space(run):
    code, out, err = run("--list")
    assert (code, err) == (0, [])
    assert [line.split()[0] for line in out] == ["space", *available()]
    (smoke,) = [line for line in out if line.startswith("smoke ")]
    assert smoke.split()[1:4] == ["deadzone", "mlp", "digits"]
    assert smoke.endswith("init_deadzone_logit, max_bits, dz.weight_decay")


def test_dry_run_shows_the_search_and_writes_nothing(run, tmp_path):
    code, out, err = run("--space", "smoke", "--dry-run", "--trials", "7", "--set", "base.lr=1e-4")
    assert (code, err) == (0, [])
    text = "\n".join(out)
    shown = yaml.safe_load(text[: text.index("dense mlp")])
    assert shown["space"]["budget"]["trials"] == 7
    assert shown["space"]["fixed"] == {"base.lr": 1e-4}
    assert set(shown["sampled"]["point"]) == {"init_deadzone_logit", "max_bits", "dz.weight_decay"}
    assert shown["sampled"]["optimizer"]["base"]["lr"] == 1e-4
    assert out[-2].startswith("dense mlp on digits: 18,814 weights, 75,256 bytes, ")
    assert out[-1].startswith("7 trials x 2 epochs, ")
    assert list(tmp_path.iterdir()) == []


def test_flags_win_over_the_space(run):
    flags = (
        "--epochs 5 --seed 9 --sampler random --device cpu --max-concurrent 1 --cpus-per-trial 0.5 --gpus-per-trial 0"
    )
    _, out, _ = run("--space", "smoke", "--dry-run", *flags.split(), "--time-budget", "90s", "--set", "max_bits=5")
    text = "\n".join(out)
    space = yaml.safe_load(text[: text.index("dense mlp")])["space"]
    assert (space["budget"]["epochs"], space["budget"]["wall_time"]) == (5, 90.0)
    assert (space["seed"], space["sampler"], space["fixed"]) == (9, "random", {"max_bits": 5})
    assert space["resources"] | {"device": "cpu", "concurrent": 1, "cpu": 0.5, "gpu": 0.0} == space["resources"]
    assert ", 1 at once: about " in out[-1]
    assert ", at most 90 s" in out[-1] or ", at most 2 min" in out[-1]


def test_a_seed_gives_the_same_sample(run):
    samples = [yaml.safe_load("\n".join(run("--space", "smoke", "--dry-run", "--seed", s)[1][:-2])) for s in "334"]
    points = [sample["sampled"]["point"] for sample in samples]
    assert points[0] == points[1] != points[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--space is missing: a name that --list shows, or a YAML file"),
        (["--space", "smok"], "space 'smok': no such file or space; did you mean 'smoke'?"),
        (["--space", "absent.yaml"], "space 'absent.yaml': no such file or space"),
        (["--space", "smoke", "--set", "max_bits"], "--set 'max_bits': must be key=value"),
        (["--space", "smoke", "--set", "=5"], "--set '=5': must be key=value"),
        (["--space", "smoke", "--set", "max_bits=99"], "max_bits = 99: must be a whole number from 2 to 16"),
        (["--space", "smoke", "--set", "max_bit=4"], "did you mean 'max_bits'?"),
        (["--space", "smoke", "--set", "max_bits=[1"], "not YAML"),
        (["--space", "smoke", "--trials", "0"], "budget.trials"),
        (["--space", "smoke", "--sampler", "grid"], "sampler"),
        (["--space", "smoke", "--time-budget", "soon"], "must be a time such as 90s, 8m or 1h30m"),
        (["--space", "smoke", "--data", "digit"], "digit"),
        (["--space", "smoke", "--device", "tpu"], "device"),
        (["--space", "smoke", "--data", "absent.module:data", "--dry-run"], "'absent.module' cannot be imported"),
        (["--space", "smoke", "--set", "task.network=absent:net", "--dry-run"], "'absent' cannot be imported"),
        (["--space", "smoke", "--set", "task.start=absent.pt", "--dry-run"], "start = 'absent.pt'"),
        (["--space", "smoke", "--name", "a/b"], "name = 'a/b': must be a plain folder name"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, [])
    (line,) = err
    assert line.startswith("ratefront: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dry", [["--dry-run"], pytest.param([], marks=pytest.mark.slow)], ids=["dry", "search"])
def test_data_asked_for_by_name_are_an_error_where_absent(run, tmp_path, no_network, dry):
    (tmp_path / "data").mkdir()
    words = ["--space", "deadzone_resnet20", "--data", "cifar10", "--data-root", str(tmp_path / "data"), *dry]
    code, out, err = run(*words, "--results", str(tmp_path / "results"))
    assert (code, out) == (2, [])
    (line,) = err
    assert line.startswith("ratefront: cifar-10-python.tar.gz is not under ")
    assert f"put it under {tmp_path / 'data'} (--data-root, RATEFRONT_DATA), or use --data digits" in line
    assert not (tmp_path / "results").exists() or list((tmp_path / "results").iterdir()) == []
    assert list((tmp_path / "data").iterdir()) == []


def test_absent_data_fall_back_in_a_dry_run_and_it_is_said(run, tmp_path, no_network):
    code, out, err = run("--space", "deadzone_mlp", "--data-root", str(tmp_path), "--dry-run")
    assert (code, err) == (0, [])
    assert any("searching the embedded data digits instead" in line for line in out)
    assert out[-2].startswith("dense mlp on digits (embedded; cifar10 was not used)")


def test_a_device_that_is_not_there_is_bad_input(run):
    import torch

    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    code, _, err = run("--space", "smoke", "--device", absent, "--dry-run")
    assert code == 2
    (line,) = err
    assert line.startswith(f"ratefront: device = '{absent}': not on this machine, which has cpu")


def test_a_cluster_that_does_not_answer_is_an_error_in_one_line(run, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    code, out, err = run("--space", "smoke", "--address", address)
    assert (code, out) == (1, [])
    (line,) = err
    assert line.startswith(f"ratefront: no Ray cluster at {address} (")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("words", [["--no-such-flag"], ["--space"], ["--trials", "many"]])
def test_flags_that_do_not_parse_are_one_line_and_exit_code_2(run, words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ratefront: ")
    assert words[0] in line
    assert line.endswith("; --help shows the flags")


def test_json_and_quiet_exclude_each_other(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("--space", "smoke", "--json", "--quiet")
    out, err = capsys.readouterr()
    assert (caught.value.code, out, len(err.splitlines())) == (2, "", 1)
    assert "not allowed with argument --json" in err


@pytest.mark.parametrize(("interrupted", "code"), [(False, 1), (True, 3)])
def test_json_ends_with_an_event_in_place_of_the_table(run, monkeypatch, tmp_path, interrupted, code):
    from search import Front

    about = {"trials": 2, "failed": 0, "tracking": "sqlite:///mlflow.db"}
    front = Front([], {}, {}, tmp_path, interrupted=interrupted, about=about)
    asked = []
    monkeypatch.setattr("search.study.run", lambda space, settings, folder: asked.append(settings) or front)
    found, out, err = run("--space", "smoke", "--json")
    assert asked[0].json
    (line,) = out
    event = json.loads(line)
    assert (event["event"], event["members"], event["interrupted"]) == ("end", 0, interrupted)
    assert found == event["exit_code"] == code
    assert len(err) == 1
    assert run("--space", "smoke")[1][-1] == "record   mlflow ui --backend-store-uri sqlite:///mlflow.db"


@pytest.mark.slow
def test_json_is_all_that_a_search_prints(tmp_path):
    words = ["--space", "smoke", "--trials", "1", "--epochs", "1", "--name", "one", "--json", "--no-report"]
    command = [sys.executable, str(ROOT / "tuner.py"), *words]
    given = {"env": clean_environment(), "cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, timeout=120, **given)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [event["event"] for event in events if event["event"] != "message"]
    assert told[:2] == ["study", "trial_start"]
    assert told[-2:] == ["trial_end", "end"]
    assert {"study", "trial_start", "epoch", "front", "trial_end", "end"} == set(told)
    assert events[-1]["members"] == len(json.loads((tmp_path / "results/one/front.json").read_text()))


def test_an_interrupt_before_the_search_is_exit_code_3(run, monkeypatch):
    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "_act", interrupted)
    code, out, err = run("--space", "smoke")
    assert (code, out, err) == (3, [], ["ratefront: interrupted"])


def test_compress_looks_into_a_file(run, tmp_path):
    from compress.artifact import save
    from tests.tiny import tiny_trainer

    save(tmp_path / "network.rf", tiny_trainer("deadzone").ship().data)
    code, out, err = run("compress", "info", str(tmp_path / "network.rf"))
    assert (code, err) == (0, [])
    assert out[1].split() == ["method", "deadzone"]
    assert any(line.startswith("linear.weight ") for line in out)
    code, out, err = run("compress", "info", str(tmp_path / "absent.rf"))
    assert (code, out, len(err)) == (2, [], 1)


def test_export_and_verify_are_commands_too(run):
    for word in ("export", "verify"):
        code, out, err = run(word, "gone", *(["1"] if word == "export" else []))
        assert (code, out, err) == (2, [], ["ratefront: study = 'gone': no such folder, nor under results"])


def kept_page(results, name):
    """report.html of a study's own run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ratefront").experiment_id
    (run,) = client.search_runs([experiment], f"tags.mlflow.runName = '{name}'")
    return Path(client.download_artifacts(run.info.run_id, "report.html", str(results))).read_bytes()


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """A search that is over in no time, and left a network."""
    from search import Front
    from search.front import Member

    metrics = {"accuracy": 0.9, "rate": 4.0, "size": 100, "ratio": 9.0, "gops": 0.1, "rel_bops": 0.1}
    member = Member(trial_id="t", epoch=1, metrics=metrics, config={}, artifact="artifacts/t.rf")
    dense = {"accuracy": 0.95, "size": 900.0, "gops": 0.2}
    about = {"trials": 1, "failed": 0, "tracking": f"sqlite:///{tmp_path}/mlflow.db"}
    front = Front([member], {"accuracy": "max", "rate": "min"}, dense, tmp_path / "mine", about=about)
    monkeypatch.setattr("search.study.run", lambda space, settings, folder: front)


@pytest.mark.parametrize(("error", "why"), [(ValueError("no room"), "no room"), (KeyboardInterrupt(), "interrupted")])
def test_a_report_that_cannot_be_written_is_a_line_and_no_failure(run, ended, monkeypatch, tmp_path, error, why):
    from analysis.studies import BadStudy

    def broken(*arguments):
        raise BadStudy(str(error)) if isinstance(error, ValueError) else error

    monkeypatch.setattr("analysis.report.leave_report", broken)
    code, out, err = run("--space", "smoke")
    words = f"report {tmp_path}/mine --attach --out {tmp_path}/mine/report.html"
    command = f"python -m analysis {words} --tracking-uri sqlite:///{tmp_path}/mlflow.db --experiment ratefront"
    assert (code, err) == (0, [f"ratefront: no report.html ({why}); {command} writes it"])
    assert out[-1].startswith("record ")


def test_a_report_is_left_out_where_it_is_not_wanted(run, ended, monkeypatch):
    asked = []
    monkeypatch.setattr("analysis.report.leave_report", lambda *given: asked.append(given) or given[0])
    assert run("--space", "smoke", "--no-report")[0] == 0
    assert asked == []
    code, out, _ = run("--space", "smoke", "--json")
    assert (code, len(asked), len(out)) == (0, 1, 1)


@pytest.mark.slow
def test_the_whole_command_and_what_it_prints(tmp_path):
    """In a process of its own, from another folder, with a network that lies there."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    words = "--space smoke --set task.network=mine:net --set task.start_epochs=2 --trials 1 --epochs 1 --name one"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tuner.py"), *words.split()],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("no trained mine:net for digits: training it once, 2 epochs of 1,197 images")
    assert any(" 1/1 trials done | 0 running | epoch 1/1 | front " in line for line in lines)
    assert any(line.split()[:4] == ["accuracy", "test", "bits/w", "bytes"] for line in lines)
    assert any(line.startswith("look     python -m compress info ") for line in lines)
    commands = {line.split()[4]: line.split()[1:] for line in lines if " python -m analysis " in line}
    for words in (commands["export"], commands["verify"]):
        told = subprocess.run(
            [sys.executable, *words[1:]],
            env={**clean_environment(), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[-1].startswith("verified: ")
    folder = tmp_path / "results" / "one"
    record = f"record   mlflow ui --backend-store-uri sqlite:///{tmp_path}/results/mlflow.db"
    assert lines[-2:] == [record, f"report   {folder}/report.html"]
    assert kept_page(tmp_path / "results", "one") == (folder / "report.html").read_bytes()
    for row in json.loads((folder / "front.json").read_text()):
        assert (folder / row["artifact"]).stat().st_size == row["size_bytes"]
    files = {"study.yaml", "front.json", "front.csv", "front.png", "trials.csv", "artifacts", "study.journal"}
    assert files <= {path.name for path in folder.iterdir()}


def processes_with(mark):
    """The processes that have inherited ``mark`` in their environment, by id: what each is."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                words = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(path.parent.name)] = words[:160]
        except OSError:
            continue
    return found


@pytest.fixture
def endless(tmp_path):
    """A search that would take hours, in a process group of its own, up to its first progress line."""
    mark = f"ratefront-{uuid.uuid4()}"
    words = ["--space", "smoke", "--trials", "500", "--epochs", "500", "--name", "endless", "--results"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tuner.py"), *words, str(tmp_path)],
        env={**clean_environment(), "RATEFRONT_MARK": mark},
        cwd=tmp_path,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lines = []
    while not lines or " trials done | " not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    yield process, mark
    for leftover in processes_with(mark):
        os.kill(leftover, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes that were left")
def test_ctrl_c_ends_cleanly_with_what_was_reached(endless, tmp_path):
    process, mark = endless
    assert len(processes_with(mark)) > 3
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - pressed < 60
    assert process.returncode == 3, err
    assert err.splitlines() == ["ratefront: interrupted; above is what was reached, --resume endless goes on"]
    folder = tmp_path / "endless"
    rows = json.loads((folder / "front.json").read_text())
    assert len(rows) > 0
    assert all(row["test_accuracy"] is not None for row in rows)
    assert {f"artifacts/{path.name}" for path in (folder / "artifacts").iterdir()} == {row["artifact"] for row in rows}
    assert f"{len(rows)} networks from " in out
    deadline = time.monotonic() + 10
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_with(mark) == {}
    check_open_runs(tmp_path, folder)


def check_open_runs(root, folder):
    """Interrupted trials are running to Optuna and MLflow: a study can go on."""
    import optuna
    from mlflow import MlflowClient

    from search.searcher import open_storage

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    number = client.get_experiment_by_name("ratefront").experiment_id
    runs = client.search_runs([number])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert (parent.info.status, parent.data.tags["end"]) == ("RUNNING", "interrupted")
    assert {run.info.status for run in runs} == {"RUNNING"}
    trials = optuna.load_study(study_name="smoke", storage=open_storage(folder)).trials
    assert {trial.state.name for trial in trials} == {"RUNNING"}
    children = {run.data.tags["trial_id"] for run in runs if run is not parent}
    assert children
    assert children <= {trial.user_attrs["trial_id"] for trial in trials}
