"""The main job, timed as a stranger would: `python benchmarks/main_job.py [--embedded] [-- more flags of tuner.py]`.

Runs tuner.py as its own process and prints the seconds until the first epoch is reported and until the end, and what the
front holds: members and trials, the span of sizes, and the smallest file within one point of the dense network.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embedded", action="store_true", help="as on a machine without data sets and dense starts")
    parser.add_argument("--space", default="deadzone_resnet20")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="results folder to keep")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = (arguments.keep or Path(scratch) / "results").absolute()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if arguments.embedded:
            environment |= {"RATEFRONT_DATA": f"{scratch}/none", "RATEFRONT_CACHE": f"{scratch}/cache"}
        command = [
            sys.executable,
            str(ROOT / "tuner.py"),
            "--space",
            arguments.space,
            "--results",
            str(results),
            "--name",
            "main",
        ]
        first, total, code = timed(command + [f for f in flags if f != "--"], environment)
        print(f"\nexit code {code}; first epoch reported after {first:.1f} s, all done after {total:.1f} s")
        describe(results / "main")
    print(
        f"machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    started, first = time.perf_counter(), float("nan")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            print(line, end="")
            if line.startswith("[") and first != first:
                first = time.perf_counter() - started
    return first, time.perf_counter() - started, process.returncode


def describe(folder: Path) -> None:
    front = json.loads((folder / "front.json").read_text())
    study = yaml.safe_load((folder / "study.yaml").read_text())
    dense, sizes = study["dense"], [m["size_bytes"] for m in front]
    ends = [line.split(",")[1] for line in (folder / "trials.csv").read_text().splitlines()[1:]]
    print(
        f"trials: {', '.join(f'{ends.count(e)} {e}' for e in dict.fromkeys(ends))}; data: {study['data_used']}, split {study['split']}"
    )
    print(
        f"front: {len(front)} members of {len({m['trial_id'] for m in front})} trials, sizes span {max(sizes) / min(sizes):.1f}x, ",
        end="",
    )
    print(f"worst {100 * (dense['accuracy'] - min(m['accuracy'] for m in front)):.1f} points below the dense network")
    near = [m for m in front if m["accuracy"] >= dense["accuracy"] - 0.01]
    if near:
        best = min(near, key=lambda m: m["size_bytes"])
        print(
            f"within a point of {dense['accuracy']:.2%}: {best['size_bytes']:,} bytes, {dense['size'] / best['size_bytes']:.2f}x smaller, ",
            end="",
        )
        print(f"validation {best['accuracy']:.2%}, test {best['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
