"""How many epochs a search needs, in simulated time on recorded learning curves; and what a decision costs.

python benchmarks/search.py record SPACE      300 configurations on the space's embedded data, every epoch; goes on where it ended
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
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import curves

PARTS = (0.1, 0.25, 0.5, 1.0)
ASKS = (
    (30, 2, False, "2 objectives"),
    (100, 2, False, "2 objectives"),
    (1000, 2, False, "2 objectives"),
    (100, 3, False, "3 objectives"),
    (1000, 3, False, "3 objectives"),
    (300, 3, True, "3 objectives, one front of all"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "replay", "decide"])
    parser.add_argument("space", nargs="?", default="deadzone_mlp")
    parser.add_argument("--configs", type=int, default=300, help="to record (300)")
    parser.add_argument("--epochs", type=int, default=27, help="of a recorded trial (27)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the space, to record")
    parser.add_argument("--table", default="", help="name of the table, where it is not the space's")
    parser.add_argument("--real", action="store_true", help="record on the space's own data, not on the embedded")
    parser.add_argument("--minutes", type=float, default=90, help="to record at most (90)")
    parser.add_argument("--trials", type=int, default=40, help="budget of the replay, in whole trials (40)")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--objectives", default="accuracy,rate")
    parser.add_argument("--only", default="", help="policies whose name holds one of these, by commas")
    parser.add_argument("--grace", type=int, default=1, help="epochs before the first rung (1)")
    parser.add_argument("--factor", type=int, default=3, help="one in so many goes on (3)")
    parser.add_argument("--steps", type=int, default=20, help="of the budget at which hypervolumes are taken (20)")
    parser.add_argument("--keep", type=Path, help="a JSON of runs: those in it are not made again")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.steps < 20 or arguments.steps % 20:
        parser.error(f"--steps {arguments.steps}: must be a multiple of 20")
    if arguments.what == "record":
        pairs = (word.split("=", 1) for word in arguments.set)
        changes = {"budget.epochs": arguments.epochs, **{key: yaml.safe_load(value) for key, value in pairs}}
        seconds = 60 * arguments.minutes
        curves.record(arguments.space, changes, arguments.configs, seconds, arguments.table, not arguments.real)
    elif arguments.what == "replay":
        compare(arguments, parser)
    else:
        decide()


def compare(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    import optuna

    from benchmarks.policies import PLAIN, policies
    from benchmarks.replay import WORKERS, Recorded
    from search_spaces.sections import Rungs

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = curves.read_table(curves.table_path(arguments.table or arguments.space))
    rungs = Rungs(grace=arguments.grace, factor=arguments.factor)
    recorded = Recorded(table, arguments.objectives.split(","), arguments.trials, rungs)
    budget = arguments.trials * recorded.epochs
    if budget % arguments.steps:
        parser.error(f"--steps {arguments.steps}: must divide the {budget} epochs")
    print(
        f"{arguments.space} on {table['data']}: n = {len(recorded.curves)} configurations x {recorded.epochs} epochs;"
    )
    print(
        f"budget {budget} epochs ({arguments.trials} whole trials), {WORKERS} at once, {arguments.seeds} paired seeds,"
    )
    print(f"rungs from {rungs.grace} by {rungs.factor}; objectives {arguments.objectives}")
    print(f"all recorded networks together: hypervolume {reachable(recorded):.4f}\n", flush=True)
    print("| policy | 10 % | 25 % | 50 % | 100 % | against plain at 100 % | its final value needs | begun / done |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    table_name = arguments.table or arguments.space
    runs, found = Runs(table_name, recorded, budget, arguments.steps, arguments.keep), {}
    for name, make in policies().items():
        if name == PLAIN or any(part in name for part in arguments.only.split(",")):
            made = [runs(name, make, seed) for seed in range(arguments.seeds)]
            found[name] = np.array([run["curve"] for run in made])
            begun, done = np.mean([[run["begun"], run["done"]] for run in made], axis=0)
            print(row(found[name], found[PLAIN], name, f"{begun:.0f} / {done:.0f}"), flush=True)
    if arguments.plot:
        draw(found, budget, arguments.plot)


class Runs:
    """Replays, kept in a file: on a busy machine a table takes more than one go."""

    def __init__(self, table_name: str, recorded, budget: int, steps: int, path: Path | None) -> None:
        self.recorded, self.budget, self.steps, self.path = recorded, budget, steps, path
        self.about = f"{table_name} {recorded.table['space']} {len(recorded.curves)} {recorded.objectives} {recorded.rungs!r} {budget}"
        self.about += f" in {steps}" if steps != 20 else ""
        self.known = json.loads(path.read_text()) if path and path.exists() else {}

    def __call__(self, name: str, make, seed: int) -> dict:
        from benchmarks.replay import replay

        key = f"{self.about}: {name}, seed {seed}"
        if key not in self.known:
            curve, counts = replay(self.recorded, make(self.recorded, seed), self.budget, self.steps)
            self.known[key] = {"curve": curve.tolist(), **counts}
            if self.path:
                self.path.write_text(json.dumps(self.known))
        return self.known[key]


def reachable(recorded) -> float:
    from analysis.pareto import NEAR_CHANCE, front_mask, hypervolume

    reports = [recorded.report(n, e) for n, curve in enumerate(recorded.curves) for e in range(len(curve))]
    points = np.array([recorded.scale(r) for r in reports if r["accuracy"] >= recorded.scale.chance + NEAR_CHANCE])
    points = np.unique(points, axis=0)
    return hypervolume(points[front_mask(points)], recorded.scale.reference)


def row(runs: np.ndarray, plain: np.ndarray, name: str, counts: str) -> str:
    """Mean hypervolume with its 95 % bootstrap interval; the budget share at which plain's final hypervolume was reached."""
    columns = [round(part * runs.shape[1]) - 1 for part in PARTS]
    cells = [f"{runs[:, c].mean():.4f} ± {half(runs[:, c]):.4f}" for c in columns]
    gain = runs[:, -1] - plain[:, -1]
    low, high = interval(gain)
    reached = np.flatnonzero(runs.mean(0) >= plain[:, -1].mean() - 1e-9)
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
        width, line = (2.5, "-") if name == "ours" else (1.2, ":" if name.startswith("ours") else "-")
        axes.plot(steps, runs.mean(0), line, label=name, linewidth=width)
    axes.axhline(next(iter(found.values()))[:, -1].mean(), color="grey", linewidth=0.7, linestyle=":")
    axes.axvline(budget / 3, color="grey", linewidth=0.7, linestyle=":")
    axes.set(xlabel="epochs spent", ylabel="hypervolume, mean of seeds")
    bottom = min(runs.mean(0)[runs.shape[1] // 10] for runs in found.values())
    axes.set_ylim(bottom=bottom)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=120, bbox_inches="tight")


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
    found: dict[str, dict[str, float]] = {}
    for name, points in clouds.items():
        rung, times = Rung(3, "net"), {"net": [], "all": []}
        for point in points[:records].tolist():
            rung.add(point)
        for number, point in enumerate(points[records:].tolist()):
            rung.protect = "all" if number % 2 else "net"
            started = time.process_time()
            rung.judge(point)
            times[rung.protect].append(1000 * (time.process_time() - started))
        for protect, spent in times.items():
            found[f"{name}, {protect}"] = {"mean": round(float(np.mean(spent)), 2), "max": round(max(spent), 2)}
            print(name, protect, found[f"{name}, {protect}"], file=sys.stderr, flush=True)
    found["2 objectives, a cloud, by forecast"] = ahead(rng, records)
    points = {f"{known} known trials, {about}": asked(known, count, front) for known, count, front, about in ASKS}
    print(json.dumps({"records": records, "milliseconds a decision": found, "a point of ehvi": points}, indent=1))


def ahead(rng: np.random.Generator, records: int) -> dict[str, float]:
    """The same through all of a ladder: six knobs, one trial in three at the next rung, the trees grown anew now and then."""
    from search.rungs import Ladder
    from search_spaces.sections import Rungs

    ladder, times = Ladder(Rungs(grace=1, factor=3), 27), []
    for number in range(records + 100):
        where, vector = rng.random(6).tolist(), rng.random(2)
        for step, epoch in enumerate((1, 3, 9, 27)):
            if number % 3**step:
                break
            started = time.process_time()
            ladder.judge(str(number), epoch, (vector / (1 + step)).tolist(), True, where)
            if number >= records:
                times.append(1000 * (time.process_time() - started))
    return {"mean": round(float(np.mean(times)), 2), "max": round(max(times), 2)}


def asked(known: int, count: int, one_front: bool, asks: int = 20) -> dict[str, float]:
    """A point of all_lenet300 asked of ehvi with so many trials known, each ask with one more; lengths are learnt at the first, and anew with 15 % more."""
    import optuna

    from search.forecast import place
    from search.samplers import make_sampler
    from search.searcher import draw_from
    from search_spaces import Space

    ways = dict([("accuracy", "max"), ("rate", "min"), ("gops", "min")][:count])
    space = Space.load("all_lenet300", {"objectives": ways}).embedded()
    sampler, rng, times = make_sampler("ehvi", space), np.random.default_rng(0), []
    study = optuna.create_study(directions=[f"{way}imize" for way in ways.values()])
    for number in range(known + asks):
        study.sampler = sampler if number >= known else optuna.samplers.RandomSampler(seed=number)
        started = time.process_time()
        trial = study.ask()
        space.point(draw_from(trial))
        times.append(1000 * (time.process_time() - started))
        middle = np.mean(place(space.draws(), trial.params))
        lost, *costs = rng.dirichlet(np.ones(count)) if one_front else np.abs(rng.normal(middle, 0.2, count))
        study.tell(trial, [1 - lost, *costs])
    return {"mean": round(float(np.mean(times[known:])), 1), "max": round(max(times[known:]), 1)}


if __name__ == "__main__":
    main()
