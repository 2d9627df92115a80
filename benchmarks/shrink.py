"""Exactness and speed of the shrinker: `python benchmarks/shrink.py [--exact] [--speed] [--torch-pruning FOLDER]`.

All three where none is named (the last where FOLDER is given). Exactness: random masks in float64, then 1,000 pictures in float32; what is
done is recorded in `results/shrink.jsonl` and not done again (`--again`). Speed: masked and shrunk by turns, one thread.

    python -m pip install --target /tmp/torch_pruning --no-deps torch-pruning
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from shrunk_speed import cifar, speed

from compress.graph import trace
from compress.reach import parameters_left, reach
from compress.shrink import shrink, shrink_traced
from tasks import Part, Task
from tasks.networks import build_network

RECORD = Path(__file__).parent.parent / "results/shrink.jsonl"
NETWORKS = {"resnet20": 32, "resnet18": 64, "resnet50": 64, "vgg19": 64, "mobilenet_v2": 64}
KINDS = ("constant rate", "random rate a layer", "layers cut")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--torch-pruning", type=Path, metavar="FOLDER", help="where Torch-Pruning is installed")
    parser.add_argument("--masks", type=int, default=100, help="a network (100)")
    parser.add_argument("--again", action="store_true", help="forget what is recorded")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    some = arguments.exact or arguments.speed or arguments.torch_pruning
    if arguments.exact or not some:
        exact(arguments.masks, arguments.again)
    if arguments.speed or not some:
        speed()
    if arguments.torch_pruning:
        sys.path.insert(0, str(arguments.torch_pruning))
        from coupled import rivals

        rivals(drawn, shrink)
    print(
        f"\n{processor()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}, torch {torch.__version__}"
    )


# exactness


def exact(masks: int, again: bool) -> None:
    RECORD.parent.mkdir(exist_ok=True)
    if again:
        RECORD.unlink(missing_ok=True)
    rows = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []
    found = {(row["network"], row["masks"]): row for row in rows}
    for name in NETWORKS:
        if (name, masks) not in found:
            row = {"network": name, "masks": masks, **in_float64(name, masks), **in_float32(name)}
            found[name, masks] = row
            with RECORD.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            print(f"{name}: {row['seconds']:.0f} s", flush=True)
    print(
        f"\nexactness, {masks} masks a network (in turn: {', '.join(KINDS)})\n{'network':<13} {'picture':>7} {'parameters left':>16} "
        f"{'counts right':>12} {'see input':>9} {'worst error':>11} {'top-1 changed':>14} {'classes':>7} {'trace s':>8} {'reach s':>8}"
    )
    for name, size in NETWORKS.items():
        row = found[name, masks]
        span = f"{row['least']:.1%} to {row['most']:.1%}"
        changed = f"{row['changed']} of {row['pictures']:,}"
        print(
            f"{name:<13} {size:>7} {span:>16} {row['right']:>5} of {masks:<3} {row['seeing']:>9} {row['worst']:>11.1e} {changed:>14} {row['classes']:>7} "
            f"{row['trace']:>8.2f} {row['reach']:>8.2f}"
        )
    print(
        "top-1: of CIFAR-10's test pictures, 32x32, float32. "
        "see input: masks under which two pictures' outputs differ. worst error: largest difference of an output over the largest output, float64\n"
        "(goal 1e-9). reach: median. Goal for resnet50's trace and reach together: 2 s"
    )


def in_float64(name: str, masks: int) -> dict[str, float]:
    """Every mask on random weights: the count that is foretold, and the outputs."""
    started, size = time.perf_counter(), NETWORKS[name]
    inputs = torch.randn(16, 3, size, size, generator=torch.Generator().manual_seed(0))
    network = drawn(name, 0, inputs).double()
    held = {n: v.clone() for n, v in network.state_dict().items()}
    begun = time.perf_counter()
    graph = trace(network, (3, size, size))
    traced = time.perf_counter() - begun
    inputs = inputs[:2].double()
    full, right, seeing, errors, left, spent = count(network), 0, 0, [], [], []
    for number in range(masks):
        network.load_state_dict(held)
        cut(network, number)
        state = {n: v.numpy() for n, v in network.state_dict().items()}
        begun = time.perf_counter()
        found = reach(graph, state, fold=True)
        spent.append(time.perf_counter() - begun)
        small = shrink_traced(graph, found)
        right += parameters_left(graph, state, fold=True) == count(small)
        with torch.inference_mode():
            expected = network(inputs)
            errors.append(float((small(inputs) - expected).abs().max() / expected.abs().max()))
            seeing += bool((expected[0] - expected[1]).abs().max() > 1e-6 * expected.abs().max())
        left.append(count(small) / full)
    row = {"right": right, "seeing": seeing, "worst": max(errors), "least": min(left), "most": max(left)}
    return {**row, "trace": traced, "reach": statistics.median(spent), "seconds": time.perf_counter() - started}


def in_float32(name: str) -> dict[str, int]:
    """Pictures of CIFAR-10's test part. resnet20 as published, three masks of each kind at 10 to 30 %; the others on random weights, one
    mask at 30 %, and a head that says each class about as often: logits that are near each other."""
    task, state = cifar()
    pictures = normalised(task)
    changed = total = 0
    classes: set[int] = set()
    for number in range(9 if name == "resnet20" else 1):
        network = drawn(name, 1, pictures[:200])
        if name == "resnet20":
            network.load_state_dict(state)
            cut(network, number, 0.1 + 0.1 * (number // 3))
        else:
            cut(network, number, 0.3)
            equalise(network, pictures[:200])
        before, after = (tops(made, pictures) for made in (network, shrink(network, pictures.shape[1:])))
        classes |= set(before.tolist())
        changed, total = changed + int((before != after).sum()), total + len(before)
    return {"changed": changed, "pictures": total, "classes": len(classes)}


@torch.no_grad()
def equalise(network: nn.Module, pictures: Tensor) -> None:
    """Logits of mean 0 and variance 1."""
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    logits = network(pictures)
    head.weight /= logits.std(0)[:, None]
    head.bias.sub_(logits.mean(0)).div_(logits.std(0))


@torch.inference_mode()
def tops(network: nn.Module, pictures: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in pictures.split(50)])


@torch.no_grad()
def drawn(name: str, seed: int, pictures: Tensor) -> nn.Module:
    """Random weights, with the statistics of pictures, not quite, so that signals come through; and a head with biases."""
    torch.manual_seed(seed)
    network = build_network(name, pictures.shape[1:], 10, {}).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.weight.uniform_(0.5, 1.5)
        module.bias.normal_(0, 0.3)
        module.train().momentum = 1.0
    network(pictures)
    for module in norms:
        module.eval().running_mean += 0.1 * torch.randn_like(module.running_mean)
        module.running_var *= torch.empty_like(module.running_var).uniform_(0.8, 1.2)
    [m for m in network.modules() if isinstance(m, nn.Linear)][-1].bias.normal_()
    return network


@torch.no_grad()
def cut(network: nn.Module, number: int, rate: float | None = None) -> None:
    """Mask ``number``: channels of norms to zero; a third of them keeps its shift, and is a constant."""
    draw, kind = np.random.default_rng(number), KINDS[number % 3]
    constant = draw.choice([0.1, 0.3, 0.5, 0.7, 0.9]) if rate is None else rate
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            share = constant if kind == KINDS[0] else draw.uniform(0, 1 if rate is None else 2 * rate)
            share = 1.0 if kind == KINDS[2] and draw.random() < 0.15 else share
            gone = draw.random(len(module.weight)) < share
            module.weight[torch.from_numpy(gone)] = 0
            module.bias[torch.from_numpy(gone & (draw.random(len(gone)) > 1 / 3))] = 0


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def normalised(task: Task) -> Tensor:
    part = Part.of(task.data.test, task.data, torch.device("cpu"))
    return part.normalise(part.images[:1000]).contiguous()


def processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
