"""Kill one search again and again, go on with it each time, and count: `python benchmarks/chaos.py --kills 20 --folder DIR`.

Every kill is kill -9: `--kills` times the driver, and between them a worker while it trains, Ray's raylet, and the MLflow server
that keeps the record. Trials write down each epoch that they begin. At the end every trial has each of its epochs, the three
stores know the same trials, and with random points one at a time (``--plain``) the front equals that of a search that nobody
disturbed. The exit code is 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
from mlflow import MlflowClient

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from search.searcher import open_storage  # noqa: E402
from tests.search.serving import TrackingServer  # noqa: E402


class Search:
    """One study under ``folder``, whose trials write ``log``; its record is at ``uri``."""

    def __init__(self, folder: Path, words: list[str], seconds: float, log: Path, uri: str | None = None) -> None:
        self.folder, self.log, self.study = folder, log, folder / "results" / "study"
        folder.mkdir(parents=True)
        self.log.touch()
        self.uri = uri or f"sqlite:///{folder / 'results' / 'mlflow.db'}"
        network = f"{{name: 'tests.search.counting:Counting', path: {self.log}, seconds: {seconds}}}"
        self.words = ["--space", "smoke", "--name", "study", "--set", f"task.network={network}", *words]
        self.words += ["--tracking-uri", self.uri]

    def go(self) -> subprocess.Popen[str]:
        """Begin, or go on."""
        words = ["--resume", "study"] if (self.study / "study.yaml").exists() else self.words
        command = [sys.executable, str(ROOT / "tuner.py"), *words, "--results", str(self.folder / "results"), "--quiet"]
        with open(self.folder / "out.txt", "a") as out:
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, text=True, start_new_session=True)

    def begun(self) -> list[dict[str, float]]:
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def front(self) -> list[object]:
        rows = json.loads((self.study / "front.json").read_text())
        return [(row["epoch"], row["accuracy"], row["size_bytes"], row["config"]) for row in rows]

    def stores(self) -> dict[str, object]:
        """What the three stores say."""
        study = optuna.load_study(study_name="smoke", storage=open_storage(self.study))
        client = MlflowClient(self.uri)
        runs = client.search_runs([client.get_experiment_by_name("ratefront").experiment_id])
        children = [run for run in runs if "trial_id" in run.data.tags]
        with open(self.study / "trials.csv", newline="") as file:
            rows = {row["trial_id"]: row for row in csv.DictReader(file)}
        steps = [len(client.get_metric_history(run.info.run_id, "accuracy")) for run in children]
        told = {t.user_attrs["trial_id"] for t in study.trials}
        return {
            "trials in trials.csv": len(rows),
            "trials in the journal": len(study.trials),
            "runs in MLflow": len(children),
            "the same trials": {r.data.tags["trial_id"] for r in children} == set(rows) == told,
            "ends": dict(Counter(row["end"] for row in rows.values())),
            "states in the journal": dict(Counter(t.state.name for t in study.trials)),
            "states in MLflow": dict(Counter(run.info.status for run in runs)),
            "accuracies a run": dict(Counter(steps)),
        }


class Chaos:
    """Kills: ``driver``, ``worker``, ``raylet``, ``server``; ``done`` counts them."""

    def __init__(self, search: Search, server: TrackingServer, draw: random.Random) -> None:
        self.search, self.server, self.draw = search, server, draw
        self.done: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self._away: threading.Timer | None = None
        self.process, self.since = search.go(), time.time()

    def run(self, kills: int) -> None:
        kinds = ["driver"] * kills + ["worker"] * (kills // 4) + ["raylet", "server"] * max(1, kills // 8)
        self.draw.shuffle(kinds)
        for kind in kinds:
            self._wait(self.draw.randint(0, 7))
            if self.process.poll() is not None:
                self.done["ended before its kill"] += 1
                break
            time.sleep(self.draw.random())
            getattr(self, f"_{kind}")()
        self._go_on(self.process.wait())
        if self._away:
            self._away.join()
        self._go_on(self.process.wait())  # a finished search delivers what a server that was away did not get

    def _wait(self, more: int) -> None:
        before = len(self.search.begun())
        while len(self.search.begun()) < before + more and self.process.poll() is None:
            time.sleep(0.05)

    def _go_on(self, code: int) -> None:
        self.codes[str(code)] += 1
        self.process, self.since = self.search.go(), time.time()

    def _driver(self) -> None:
        self.process.kill()
        self.done["driver"] += 1
        self._go_on(self.process.wait())

    def _worker(self) -> None:
        """One that trains, once there is one."""
        while not (live := [line for line in self.search.begun() if line["start"] > self.since]):
            self._wait(1)
        with suppress(ProcessLookupError):
            os.kill(int(live[-1]["pid"]), signal.SIGKILL)
            self.done["worker"] += 1

    def _raylet(self) -> None:
        self._wait(1)
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "raylet"], capture_output=True, text=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
        self.done["raylet"] += 1
        self._go_on(self.process.wait())

    def _server(self) -> None:
        """For some seconds nobody answers."""
        if self._away:
            self._away.join()
        self.server.kill()
        self.done["server"] += 1
        self._away = threading.Timer(self.draw.uniform(2, 20), self.server.start, [300])
        self._away.start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3, help="of an epoch, at least")
    parser.add_argument("--plain", action="store_true", help="random points, one trial at once; compare the fronts")
    a = parser.parse_args()
    words = ["--trials", str(a.trials), "--epochs", str(a.epochs)]
    words += ["--sampler", "random", "--max-concurrent", "1"] if a.plain else []
    started, server = time.time(), TrackingServer(a.folder)
    log = a.folder / "log.jsonl"
    search = Search(a.folder / "killed", words, a.seconds, log, server.url)
    try:
        server.start(300)
        chaos = Chaos(search, server, random.Random(a.kills))
        chaos.run(a.kills)
        assert chaos.process.wait() == 0, (search.folder / "out.txt").read_text()[-2000:]
        stores = search.stores()
    finally:
        server.kill()
    begun = Counter((line["trial"], line["epoch"]) for line in search.begun())
    again, struck = sum(begun.values()) - len(begun), sum(chaos.done[k] for k in ("driver", "worker", "raylet"))
    report = {"kills": dict(chaos.done), "exit codes": dict(chaos.codes)}
    report |= {"minutes": round((time.time() - started) / 60, 1), **stores, "epochs": len(begun)}
    report["epochs begun again"] = again
    holds = {
        "every epoch of every trial": len(begun) == a.trials * a.epochs,
        "at most two epochs a kill and trial again": again <= 2 * struck * (1 if a.plain else os.cpu_count() or 1),
        "the stores agree": bool(stores["the same trials"]) and stores["runs in MLflow"] == a.trials,
        "all done": stores["ends"] == {"done": a.trials} and stores["states in the journal"] == {"COMPLETE": a.trials},
        "all FINISHED": stores["states in MLflow"] == {"FINISHED": a.trials + 1},
        "every accuracy once": stores["accuracies a run"] == {a.epochs + 1: a.trials},
    }
    if a.plain:
        whole = Search(a.folder / "whole", words, a.seconds, log)  # the network's arguments stand in each file
        assert whole.go().wait() == 0
        holds["the front is that of a whole search"] = search.front() == whole.front()
    print(json.dumps({**report, "holds": holds}, indent=1))
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
