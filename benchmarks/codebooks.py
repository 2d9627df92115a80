"""resnet20 between a device and a server: accuracy over bits sent, over the channel's noise, and over beta.

    python benchmarks/codebooks.py runs results/codebooks --only psnr20 --epochs 40 --batch-size 32 --lr 2e-3 --distill 1 --hint 20 --shift 0 --precision bf16
    python benchmarks/codebooks.py runs results/codebooks --epochs 5        # 20 and 12 dB; K = 16 pruned to 8 and to 4
    python benchmarks/codebooks.py betas results/codebooks --epochs 2 --images 3000 --codebook-lr 0.03
    python benchmarks/codebooks.py sweep results/codebooks --plot docs/codebooks.png      # the files of ``runs``, 4 to 20 dB; drawn

From the published weights, split after layer1, 10,000 images an epoch unless said; one thread; the split of the study (test-halves-5000).
Each run leaves its file and a line of JSON; what is there already is not run again, and one that was stopped goes on at its last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.channel import Link
from compress.codebooks import codebooks_of
from tasks import Part, Task, TaskSpec, evaluate, load, open_task
from tasks.downloads import data_root
from trainables.trainer import Recipe, Trainer

BETAS = (1e-2, 1e-1, 5e-1, 2.0, 10.0)
SWEEP = (4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0)
OPTIMIZER = {"name": "adam", "schedule": "cosine"}


def codebook(prune: int = 0) -> list[dict[str, object]]:
    """K = 16, ``prune`` of them dropped in two events early in the budget."""
    events = {"prune_epochs": [0.2, 0.4], "prune_ns": [prune - prune // 2, prune // 2]} if prune else {}
    return [{"layer": "layer1[2]", "hidden_dim": 16, "codebook_size": 16, **events}]


RUNS = {
    "psnr20": {"PSNR": 20.0, "codebooks": codebook()},
    "psnr12": {"PSNR": 12.0, "codebooks": codebook()},
    "psnr12-k8": {"PSNR": 12.0, "codebooks": codebook(8)},
    "psnr12-k4": {"PSNR": 12.0, "codebooks": codebook(12)},
    "psnr20-k8": {"PSNR": 20.0, "codebooks": codebook(8)},
    "psnr20-k4": {"PSNR": 20.0, "codebooks": codebook(12)},
}


def opened(batch_size: int, shift: int | None = None) -> tuple[Task, Any]:
    about = {"network": "resnet20", "data": "cifar10", "start": "published", "batch_size": batch_size, "shift": shift}
    return open_task(TaskSpec(**about), data_root())


def teacher(task: Task, start: Any) -> nn.Module:
    """The dense network that ``--distill`` and ``--hint`` learn from."""
    network = task.build()
    network.load_state_dict(dict(start.state))
    return network.eval().requires_grad_(False)


def taught(options: argparse.Namespace) -> tuple[dict[str, object], ...]:
    penalties = (
        {"name": "distill", "lambda": options.distill},
        {"name": "hint", "lambda": options.hint, "layers": ["layer2", "layer3"]},
    )
    return tuple(penalty for penalty in penalties if penalty["lambda"])


def run(task: Task, start: Any, name: str, knobs: dict[str, object], options: argparse.Namespace) -> dict[str, object]:
    """Train, measure once, keep the file and a line; what was stopped goes on at its last whole epoch."""
    line, half = options.folder / f"{name}.json", options.folder / f"{name}.pt"
    if line.exists():
        return json.loads(line.read_text())
    started = time.perf_counter()
    recipe = Recipe(
        method="codebook",
        knobs=knobs,
        penalties=taught(options),
        optimizer={**OPTIMIZER, "base": {"lr": options.lr}, "codebook": {"lr": options.codebook_lr}},
        epochs=options.epochs,
        images=options.images,
        seed=0,
        precision=options.precision,
    )
    trainer = Trainer(task, recipe, start.state, torch.device("cpu"), lambda: teacher(task, start))
    if half.exists():
        trainer.restore(torch.load(half, weights_only=True))
    while trainer.epochs_done < options.epochs:
        loss = trainer.train_epoch()
        torch.save(trainer.state(), half)
        print(
            f"  {name}: epoch {trainer.epochs_done}, loss {loss:.3f}, {time.perf_counter() - started:.0f} s", flush=True
        )
    metrics = trainer.measure()
    (options.folder / f"{name}.rf").write_bytes(trainer.shipped.data)
    test = evaluate(trainer.shipped.network, Part.of(task.data.test, task.data, torch.device("cpu")))
    found = {
        "name": name,
        "epochs": options.epochs,
        "images": trainer.images,
        "batch_size": options.batch_size,
        "shift": task.spec.shift,
        "penalties": taught(options),
        "precision": options.precision,
        "knobs": knobs,
        "test_accuracy": test,
    }
    found |= {**metrics.plain(), **trainer.method.measures(trainer.model), "seconds": time.perf_counter() - started}
    line.write_text(json.dumps(found))
    half.unlink(missing_ok=True)
    return found


def told(found: dict[str, object]) -> str:
    keys = (
        "accuracy",
        "test_accuracy",
        "codewords",
        "sent_bits_fixed",
        "sent_bits_coded",
        "symbol_errors",
        "gops",
        "gops_device",
    )
    numbers = ", ".join(
        f"{key} {found[key]:.4f}" for key in (*keys, "parameters", "parameters_device", "size", "seconds")
    )
    return f"{found['name']}: {numbers}"


def sweep(task: Task, folder: Path) -> None:
    """Accuracy on validation data of every file of ``runs`` at other PSNR than it was trained for."""
    part, curves = Part.of(task.data.validation, task.data, torch.device("cpu")), {}
    for name in RUNS:
        file = folder / f"{name}.rf"
        if file.exists():
            network = load(str(file))
            (layer,) = codebooks_of(network)
            curves[name] = []
            for psnr in SWEEP:
                layer.link = Link(layer.link.modulation, psnr)
                curves[name].append(evaluate(network, part))
            print(
                name, " ".join(f"{psnr:g} dB {a:.2%}" for psnr, a in zip(SWEEP, curves[name], strict=True)), flush=True
            )
    (folder / "sweep.json").write_text(json.dumps({"PSNR": SWEEP, **curves}))


def draw(folder: Path, path: Path) -> None:
    """Accuracy over the bits that are sent, by the PSNR of training; and over the PSNR of testing."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [json.loads((folder / f"{name}.json").read_text()) for name in RUNS if (folder / f"{name}.json").exists()]
    curves = json.loads((folder / "sweep.json").read_text())
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), dpi=130, layout="constrained")
    for psnr, colour, mark in ((20.0, "#1f6fb2", "o"), (12.0, "#d9822b", "s")):
        rows = sorted((r for r in found if r["knobs"]["PSNR"] == psnr), key=lambda row: row["sent_bits_fixed"])
        for bits, line, label in (("fixed", "-", "fixed length"), ("coded", ":", "coded")):
            at, accuracy = [r[f"sent_bits_{bits}"] for r in rows], [100 * r["accuracy"] for r in rows]
            left.plot(at, accuracy, line, marker=mark, color=colour, label=f"{psnr:g} dB, {label}")
        for row, shade in zip(rows, (1.0, 0.7, 0.45), strict=False):
            accuracy = [100 * a for a in curves[row["name"]]]
            label = f"{row['codewords']:.0f} codewords, trained at {psnr:g} dB"
            right.plot(curves["PSNR"], accuracy, marker=mark, markersize=4, color=colour, alpha=shade, label=label)
    left.set(xlabel="bits sent for a picture", ylabel="validation accuracy in %")
    right.set(xlabel="PSNR of the channel it is tested on, in dB", ylabel="validation accuracy in %")
    for axes in (left, right):
        axes.grid(True, linewidth=0.4, alpha=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def betas(task: Task, start: Any, options: argparse.Namespace) -> None:
    """Bits over beta: they must not rise by more than 1 %, and the ends must be 10 % apart."""
    bits = []
    for beta in BETAS:
        knobs = {"PSNR": 20.0, "codebooks": codebook(), "beta": beta, "entropy": "marginal"}
        found = run(task, start, f"beta-{beta:g}", knobs, options)
        bits.append(float(found["sent_bits_coded"]))
        print(told(found), flush=True)
    falls = all(after <= 1.01 * before for before, after in pairwise(bits))
    print(
        f"non-increasing within 1 %: {falls}; ends {1 - bits[-1] / bits[0]:.1%} apart; {math.log10(BETAS[-1] / BETAS[0]):g} decades"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["runs", "betas", "sweep"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--codebook-lr", type=float, default=3e-3)
    parser.add_argument("--distill", type=float, default=0.0, help="lambda of learning from the dense network")
    parser.add_argument("--hint", type=float, default=0.0, help="lambda of following its layer2 and layer3")
    parser.add_argument("--shift", type=int, help="pixels that training pictures are shifted by at most (4)")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--only", choices=[*RUNS], nargs="*", default=[*RUNS])
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    task, start = opened(options.batch_size, options.shift)
    if options.what == "runs":
        for name in options.only:
            print(told(run(task, start, name, RUNS[name], options)), flush=True)
    elif options.what == "betas":
        betas(task, start, options)
    else:
        sweep(task, options.folder)
        if options.plot:
            draw(options.folder, options.plot)


if __name__ == "__main__":
    main()
