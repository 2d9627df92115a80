"""Ours beside plain Ray Tune + OptunaSearch, on live Ray at equal epochs: what both reach, and their fronts drawn.

    python benchmarks/live.py results/live --plot docs/live.png
    python benchmarks/live.py results/tpe --sampler tpe --against results/live

The space all_lenet300 (three methods) on a perceptron and digits. Plain: Optuna's own TPESampler, every trial to its end. Ours: rungs at
epochs 1 and 3, the sampler that `auto` picks, no points tried first. Both run whole searches; networks count up to the same epoch spent, in
the order in which they were measured. A seed whose study is there already is not run again. Differences are paired by seed, with their 95 %
bootstrap intervals; --against adds those to ours in another folder, made before.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))
import search
import search.searcher
from analysis.pareto import NEAR_CHANCE, Scale, front_mask, hypervolume
from benchmarks.search import interval
from search.epochs import networks_of
from search.samplers import make_sampler
from search.study import Settings
from search_spaces import Space

SPACE, CHANCE = "all_lenet300", 0.1
MORE = 5  # times as many trials where most are stopped
NAMES = ("plain", "ours")
PARTS = {"a quarter": 0.25, "a third": 1 / 3, "half": 0.5, "the end": 1.0}


def searched(folder: Path, seed: int, plain: bool, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The networks of a search, in order; its folder is left."""
    name = f"{'plain' if plain else 'ours'}-{seed}"
    if not (folder / name / "front.json").exists():
        shutil.rmtree(folder / name, ignore_errors=True)
        rungs = None if plain else {"grace": 1, "factor": 3, "protect": arguments.protect, "by": arguments.by}
        trials = arguments.trials * (1 if plain else MORE)
        changes = {"task.network": "mlp", "budget.epochs": arguments.epochs, "budget.trials": trials, "points": []}
        changes |= {"budget.rungs": rungs, "seed": seed, "sampler": "auto" if plain else arguments.sampler}
        space = Space.load(SPACE, changes).embedded()
        search.searcher.make_sampler = (lambda *_: optuna.samplers.TPESampler(seed=seed)) if plain else make_sampler
        started = time.perf_counter()
        search.run(space, Settings(name=name, results=folder, quiet=True))
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return networks_of(folder / name)


def measured(rows: list[dict[str, Any]], scale: Scale, budget: int) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Hypervolume after each of ``budget`` epochs, the last front as (n, 2) of rate and accuracy, and what was spent."""
    spent, climb, points, networks = 0, np.zeros(budget + 1), np.empty((0, 2)), []
    trials: dict[str, int] = {}
    for row in rows:
        if row["epoch"] > 0 and spent == budget:
            break
        spent += row["epoch"] > 0
        trials[row["trial_id"]] = max(trials.get(row["trial_id"], 0), int(row["epoch"]))
        if row["accuracy"] >= CHANCE + NEAR_CHANCE:
            points = np.array([*points, scale(row)])
            networks.append((row["rate"], row["accuracy"]))
            kept = front_mask(points)
            points, networks = points[kept], [n for n, k in zip(networks, kept, strict=True) if k]
        climb[spent:] = hypervolume(points, scale.reference)
    whole = max(trials.values(), default=0)
    counts = {"epochs": int(spent), "begun": len(trials), "done": sum(n == whole for n in trials.values())}
    return climb, np.array(sorted(networks)), counts


def made(
    folder: Path, name: str, seed: int, arguments: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """One search's ``measured``."""
    rows = searched(folder, seed, name == "plain", arguments)
    about = yaml.safe_load((folder / f"{name}-{seed}" / "study.yaml").read_text())
    scale = Scale(["accuracy", "rate"], {**about["dense"], "rate": 32.0}, CHANCE)
    return measured(rows, scale, arguments.trials * arguments.epochs)


def reached(climb: np.ndarray, goal: float) -> str:
    """The share of the epochs after which a climb has the goal."""
    there = np.flatnonzero(climb >= goal)
    return f"{there[0] / (len(climb) - 1):.0%}" if len(there) else "more than all"


def differences(gains: np.ndarray) -> list[str]:
    """By how much each seed is ahead, (seeds, budget + 1) -> a cell for each of PARTS, and how many seeds are at the end."""
    cells = []
    for part in PARTS.values():
        gain = gains[:, round(part * (gains.shape[1] - 1))]
        low, high = interval(gain)
        cells.append(f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
    return [*cells, f"{(gains[:, -1] > 0).sum()} of {len(gains)}"]


def draw(found: dict[str, list[Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looks = {"plain": ("#8a8a8a", "s"), "ours": ("#1f6fb2", "o")}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), dpi=130, layout="constrained")
    for name, runs in found.items():
        colour, mark = looks[name]
        left.plot(np.mean([climb for climb, _, _ in runs], axis=0), color=colour, linewidth=2.4, label=f"{name}, mean")
        for number, (climb, front, _) in enumerate(runs):
            left.plot(climb, color=colour, linewidth=0.8, alpha=0.4)
            label = {"label": name} if number == 0 else {}
            right.scatter(front[:, 0], 100 * front[:, 1], color=colour, marker=mark, s=14, alpha=0.7, **label)
    left.set(xlabel="epochs spent", ylabel="hypervolume", title=f"live searches, {len(found['ours'])} seeds")
    right.set(xlabel="bits a weight", ylabel="validation accuracy in %", title="their fronts at equal epochs")
    right.set_xscale("log")
    right.set_xticks([0.2, 0.3, 0.5, 1, 2, 3])
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter("")
    for axes in (left, right):
        axes.grid(True, linewidth=0.4, alpha=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20, help="whole ones that both may spend (20)")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by", choices=["heading", "now"], default="heading", help="how rungs rank trials")
    parser.add_argument("--protect", choices=["net", "all"], default="net", help="who goes on of a rung's front")
    parser.add_argument("--sampler", default="auto", help="of ours")
    parser.add_argument("--against", type=Path, help="a folder of such searches, made before")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    needed = [(arguments.against or Path()) / f"ours-{seed}" / "front.json" for seed in range(arguments.seeds)]
    if arguments.against and not all(path.exists() for path in needed):
        parser.error(
            f"--against {arguments.against}: must hold searches ours-0 to ours-{arguments.seeds - 1}, each with its front.json"
        )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = {name: [made(arguments.folder, name, seed, arguments) for seed in range(arguments.seeds)] for name in NAMES}
    print(
        "| seed | plain | ours | ours has plain's last after | begun / done, plain | ours | epochs |\n|---|---|---|---|---|---|---|"
    )
    for seed, (plain, ours) in enumerate(zip(found["plain"], found["ours"], strict=True)):
        counts = [f"{run[2]['begun']} / {run[2]['done']}" for run in (plain, ours)]
        spent = f"{plain[2]['epochs']} / {ours[2]['epochs']}"
        share = reached(ours[0], plain[0][-1])
        print(f"| {seed} | {plain[0][-1]:.4f} | {ours[0][-1]:.4f} | {share} | {counts[0]} | {counts[1]} | {spent} |")
    climbs = {name: np.array([climb for climb, _, _ in runs]) for name, runs in found.items()}
    goal = climbs["plain"][:, -1].mean()
    print(f"\nours' mean has plain's last mean, {goal:.4f}, after {reached(climbs['ours'].mean(0), goal)}")
    if arguments.against:
        others = [made(arguments.against, "ours", seed, arguments)[0] for seed in range(arguments.seeds)]
        climbs[str(arguments.against)] = np.array(others)
    print(f"\n| ours less | {' | '.join(PARTS)} | ahead at the end |\n|---|{'---|' * len(PARTS)}---|")
    for name, other in climbs.items():
        if name != "ours":
            print(f"| {name} | {' | '.join(differences(climbs['ours'] - other))} |")
    if arguments.plot:
        draw(found, arguments.plot)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, optuna {optuna.__version__}"
    )


if __name__ == "__main__":
    main()
