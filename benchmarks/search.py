"""How many epochs a search needs, in simulated time on recorded learning curves; and what a decision costs.

python benchmarks/search.py record SPACE      300 configurations of the space's embedded data, every epoch; goes on where it ended
python benchmarks/search.py replay SPACE      policies at equal epochs, paired seeds; a table, and a plot with --plot
python benchmarks/search.py decide            milliseconds a decision with 10,000 trials recorded
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import curves

PARTS = (0.1, 0.25, 0.5, 1.0)
PLAIN = "Ray Tune + OptunaSearch, FIFO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "replay", "decide"])
    parser.add_argument("space", nargs="?", default="deadzone_mlp")
    parser.add_argument("--configs", type=int, default=300, help="to record (300)")
    parser.add_argument("--epochs", type=int, default=27, help="of a recorded trial (27)")
    parser.add_argument("--minutes", type=float, default=90, help="to record at most (90)")
    parser.add_argument("--trials", type=int, default=40, help="budget of the replay, in whole trials (40)")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--objectives", default="accuracy,rate")
    parser.add_argument("--only", default="", help="policies whose name holds one of these, by commas")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "record":
        changes = {"budget.epochs": arguments.epochs}
        curves.record(arguments.space, changes, arguments.configs, 60 * arguments.minutes)
    elif arguments.what == "replay":
        compare(arguments)
    else:
        decide()


def compare(arguments: argparse.Namespace) -> None:
    import optuna

    from benchmarks import replay

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = curves.read_table(curves.table_path(arguments.space))
    recorded = replay.Recorded(table, arguments.objectives.split(","), arguments.trials)
    budget = arguments.trials * recorded.epochs
    print(
        f"{arguments.space} on {table['data']}: n = {len(recorded.curves)} recorded configurations x {recorded.epochs} epochs;"
    )
    print(
        f"budget {budget} epochs ({arguments.trials} whole trials), {replay.WORKERS} at once, {arguments.seeds} paired seeds,"
    )
    print(f"rungs from {replay.GRACE} by {replay.FACTOR}; objectives {arguments.objectives}")
    best = reachable(recorded)
    print(f"all recorded networks together: hypervolume {best:.4f}\n", flush=True)
    print("| policy | 10 % | 25 % | 50 % | 100 % | against plain at 100 % | its final value needs | begun / done |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    found: dict[str, np.ndarray] = {}
    for name, make in replay.policies().items():
        if any(part in name for part in arguments.only.split(",")) or name == PLAIN:
            runs = [replay.replay(recorded, make(recorded, seed), budget) for seed in range(arguments.seeds)]
            found[name] = np.array([run[0] for run in runs])
            begun, done = np.mean([[run[1]["begun"], run[1]["done"]] for run in runs], axis=0)
            print(row(name, found, f"{begun:.0f} / {done:.0f}"), flush=True)
    if arguments.plot:
        draw(found, budget, arguments.plot)


def reachable(recorded) -> float:
    from analysis.pareto import front_mask, hypervolume
    from search.archive import NEAR_CHANCE

    reports = [recorded.report(n, e) for n, curve in enumerate(recorded.curves) for e in range(len(curve))]
    points = np.array([recorded.scale(r) for r in reports if r["accuracy"] >= recorded.scale.chance + NEAR_CHANCE])
    points = np.unique(points, axis=0)
    return hypervolume(points[front_mask(points)], recorded.scale.reference)


def row(name: str, found: dict[str, np.ndarray], counts: str) -> str:
    """Mean hypervolume with its 95 % bootstrap interval; the budget share at which plain's final hypervolume was reached."""
    runs, plain = found[name], found[PLAIN]
    columns = [round(part * runs.shape[1]) - 1 for part in PARTS]
    cells = [f"{runs[:, c].mean():.4f} ± {half(runs[:, c]):.4f}" for c in columns]
    gain = runs[:, -1] - plain[:, -1]
    low, high = interval(gain)
    reached = np.flatnonzero(runs.mean(0) >= plain[:, -1].mean())
    share = f"{(reached[0] + 1) / runs.shape[1]:.1%}" if len(reached) else "more than all"
    return f"| {name} | {' | '.join(cells)} | {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}] | {share} | {counts} |"


def interval(values: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return float(low), float(high)


def half(values: np.ndarray) -> float:
    low, high = interval(values)
    return (high - low) / 2


def draw(found: dict[str, np.ndarray], budget: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, runs in found.items():
        steps = np.arange(1, runs.shape[1] + 1) / runs.shape[1] * budget
        axes.plot(steps, runs.mean(0), label=name)
    axes.axhline(found[PLAIN][:, -1].mean(), color="grey", linewidth=0.7, linestyle=":")
    axes.axvline(budget / 3, color="grey", linewidth=0.7, linestyle=":")
    axes.set(xlabel="epochs spent", ylabel="hypervolume, mean of seeds")
    bottom = min(runs.mean(0)[runs.shape[1] // 10] for runs in found.values())
    axes.set_ylim(bottom=bottom)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def decide(records: int = 10_000) -> None:
    from search.rungs import Rung

    rng = np.random.default_rng(0)
    line = rng.random(records + 100)
    clouds = {
        "2 objectives, a cloud": rng.random((records + 100, 2)),
        "3 objectives, a cloud": rng.random((records + 100, 3)),
        "2 objectives, noise about a line": np.stack([line, 1 - line + 0.05 * rng.standard_normal(records + 100)], 1),
        "2 objectives, one front of all": np.stack([line, 1 - line], 1),
    }
    found = {}
    for name, points in clouds.items():
        for protect in ("all", "net"):
            rung = Rung(3, protect)
            for point in points[:records].tolist():
                rung.add(point)
            times = []
            for point in points[records:].tolist():
                started = time.process_time()
                rung.judge(point)
                times.append(1000 * (time.process_time() - started))
            found[f"{name}, protect {protect}"] = {"mean": round(float(np.mean(times)), 2), "max": round(max(times), 2)}
    print(json.dumps({"records": records, "milliseconds a decision": found}, indent=1))


if __name__ == "__main__":
    main()
