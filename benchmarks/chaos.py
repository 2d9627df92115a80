"""Kill one search again and again, go on with it each time, and count: `python benchmarks/chaos.py --kills 20 --folder DIR`.

Every kill is kill -9: four of five times the driver's, else a worker's while it trains. Trials write down each epoch that they begin.
At the end every trial has each of its epochs, the three stores know the same trials, and with random points one at a time
(``--plain``) the front equals that of a search that nobody disturbed.
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
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
from mlflow import MlflowClient

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from search.searcher import open_storage  # noqa: E402


class Search:
    """One study under ``folder``, with the log of its trials."""

    def __init__(self, folder: Path, words: list[str], seconds: float) -> None:
        self.folder, self.log, self.study = folder, folder / "log.jsonl", folder / "results" / "study"
        folder.mkdir(parents=True)
        self.log.touch()
        network = f"{{name: 'tests.search.counting:Counting', path: {self.log}, seconds: {seconds}}}"
        self.words = ["--space", "smoke", "--name", "study", "--set", f"task.network={network}", *words]

    def go(self) -> subprocess.Popen[str]:
        """Begin, or go on."""
        words = ["--resume", "study"] if self.study.exists() else self.words
        command = [sys.executable, str(ROOT / "tuner.py"), *words, "--results", str(self.folder / "results"), "--quiet"]
        with open(self.folder / "out.txt", "a") as out:
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, text=True, start_new_session=True)

    def begun(self) -> list[dict[str, float]]:
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def stores(self) -> dict[str, object]:
        """What the three stores say."""
        study = optuna.load_study(study_name="smoke", storage=open_storage(self.study))
        client = MlflowClient(f"sqlite:///{self.study.parent / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("ratefront").experiment_id])
        children = [run for run in runs if "trial_id" in run.data.tags]
        with open(self.study / "trials.csv", newline="") as file:
            rows = {row["trial_id"]: row for row in csv.DictReader(file)}
        steps = [len(client.get_metric_history(run.info.run_id, "accuracy")) for run in children]
        return {
            "trials in trials.csv": len(rows),
            "trials in the journal": len(study.trials),
            "runs in MLflow": len(children),
            "the same trials": {r.data.tags["trial_id"] for r in children}
            == set(rows)
            == {t.user_attrs["trial_id"] for t in study.trials},
            "ends": dict(Counter(row["end"] for row in rows.values())),
            "states in the journal": dict(Counter(t.state.name for t in study.trials)),
            "states in MLflow": dict(Counter(run.info.status for run in runs)),
            "accuracies a run": dict(Counter(steps)),
        }


def disturb(search: Search, kills: int, draw: random.Random) -> Counter[str]:
    """Kill and go on; which kills there were."""
    done: Counter[str] = Counter()
    process, since = search.go(), time.time()
    while sum(done.values()) < kills:
        more, before = draw.randint(0, 7), len(search.begun())
        while len(search.begun()) < before + more and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:
            done["ended before its kill"] += 1
        elif sum(done.values()) % 5 == 4 and (live := [line for line in search.begun() if line["start"] > since]):
            with suppress(ProcessLookupError):
                os.kill(int(live[-1]["pid"]), signal.SIGKILL)
                done["worker"] += 1
            continue
        else:
            time.sleep(draw.random())
            process.kill()
            done["driver"] += 1
        process.wait()
        process, since = search.go(), time.time()
    assert process.wait() == 0, (search.folder / "out.txt").read_text()[-2000:]
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3, help="of an epoch, at least")
    parser.add_argument("--plain", action="store_true", help="random points, one trial at once; compare the fronts")
    a = parser.parse_args()
    words = ["--trials", str(a.trials), "--epochs", str(a.epochs)]
    words += ["--sampler", "random", "--max-concurrent", "1"] if a.plain else []
    search, started = Search(a.folder / "killed", words, a.seconds), time.time()
    kills = disturb(search, a.kills, random.Random(a.kills))
    begun = Counter((line["trial"], line["epoch"]) for line in search.begun())
    report = {"kills": dict(kills), "minutes": round((time.time() - started) / 60, 1), **search.stores()}
    report["epochs"] = len(begun)
    report["epochs begun again"] = sum(begun.values()) - len(begun)
    if a.plain:
        whole = Search(a.folder / "whole", words, 0.0)
        assert whole.go().wait() == 0
        report["the front is that of a whole search"] = front(search) == front(whole)
    print(json.dumps(report, indent=1))


def front(search: Search) -> list[object]:
    rows = json.loads((search.study / "front.json").read_text())
    return [(row["epoch"], row["accuracy"], row["size_bytes"], row["config"]) for row in rows]


if __name__ == "__main__":
    main()
