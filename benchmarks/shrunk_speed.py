"""Masked and shrunk resnet20 by turns, as they are and made ready by `for_inference`: part of `python benchmarks/shrink.py --speed`.

Each setting of the machine is a process of its own: `python benchmarks/shrunk_speed.py contiguous` prints its rows as JSON.
"""

import copy
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from compress.inference import for_inference
from compress.metrics import count_macs
from compress.shrink import shrink
from tasks import Task, TaskSpec, open_task
from tasks.downloads import data_root
from tasks.networks import build_network

FORMATS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}
ROUNDS = 40
SETTINGS = {"as it is": {}, "vectors of AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}
KINDS = ("masked", "shrunk", "masked, ready", "shrunk, ready")


def speed() -> None:
    print(
        f"\nspeed: published resnet20, batch 64, ms, the best of {ROUNDS} by turns in wall time, and how many times faster than masked; goals 1.9x and 3x\n"
        f"{'machine':<16} {'format':<13} {'pruned':>6} {'promise':>8} {'masked':>7} {'shrunk':>7} {'':>6} {'shrunk, ready':>14} {'':>6} "
        f"{'of promise':>10} {'(CPU time)':>10} {'masked, ready':>14} {'over it':>8}"
    )
    for setting, variables in SETTINGS.items():
        for memory_format in ("contiguous", "channels_last"):
            command = [sys.executable, "-W", "ignore", __file__, memory_format]
            done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
            for row in json.loads(done.stdout):
                print(f"{setting:<16} {memory_format:<13} {row}", flush=True)
    print("where the time goes (CPU time in ms a batch, channels last)")
    for share in (0.0, 0.5, 0.75):
        masked, small = pruned(share)
        made = small if share else masked
        for kind, network in (("as it is", made), ("ready", for_inference(made, (3, 32, 32)))):
            print(f"  {share:.0%} pruned, {kind}: " + ", ".join(f"{k} {v:.1f}" for k, v in profile(network).items()))
    print("convolutions of 3x3 that PyTorch runs here (ms a batch of 64, channels last): " + ", ".join(convolutions()))


def timed_rows(memory_format: str) -> list[str]:
    rows = []
    for share in (0.5, 0.75):
        masked, small = pruned(share)
        promise = count_macs(masked, (3, 32, 32)).total / count_macs(small, (3, 32, 32)).total
        ready = [for_inference(made, (3, 32, 32)) for made in (masked, small)]
        laid = {"memory_format": getattr(torch, FORMATS[memory_format])}
        networks = dict(zip(KINDS, [masked.to(**laid), small.to(**laid), *ready], strict=True))
        walls, spent = by_turns(networks, torch.randn(64, 3, 32, 32).contiguous(**laid))
        plain, shrunk, both, last = (1000 * min(walls[kind]) for kind in KINDS)
        medians = [statistics.median(spent[kind]) for kind in KINDS]
        rows.append(
            f"{share:>6.0%} {promise:>7.2f}x {plain:>7.1f} {shrunk:>7.1f} {plain / shrunk:>5.2f}x {last:>14.1f} {plain / last:>5.2f}x "
            f"{plain / last / promise:>10.0%} {medians[0] / medians[3]:>9.2f}x {both:>14.1f} {both / last:>7.2f}x"
        )
    return rows


@torch.inference_mode()
def by_turns(
    networks: Mapping[str, nn.Module], inputs: Tensor
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall seconds and CPU seconds of each."""
    walls: dict[str, list[float]] = {kind: [] for kind in networks}
    spent: dict[str, list[float]] = {kind: [] for kind in networks}
    for number in range(ROUNDS + 2):
        for kind, made in networks.items():
            wall, cpu = time.perf_counter(), time.thread_time()
            made(inputs)
            if number >= 2:
                spent[kind].append(time.thread_time() - cpu)
                walls[kind].append(time.perf_counter() - wall)
    return walls, spent


def pruned(share: float) -> tuple[nn.Module, nn.Module]:
    """The published resnet20 with this share of the first norm's channels of every block zero, and what is left of it."""
    made = build_network("resnet20", (3, 32, 32), 10, {}).eval()
    made.load_state_dict(cifar()[1])
    for name, module in made.named_modules():
        if name.endswith(".bn1"):
            gone = module.weight.detach().abs().argsort()[: int(share * len(module.weight))]
            module.weight.data[gone], module.bias.data[gone] = 0, 0
    return made, shrink(made, (3, 32, 32))


def profile(network: nn.Module) -> dict[str, float]:
    inputs = torch.randn(64, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(10):
            network(inputs)
    kinds = {"mkldnn_convolution": "convolutions", "native_batch_norm": "norms", "add": "adds", "clamp_min": "ReLUs"}
    parts: dict[str, float] = dict.fromkeys([*kinds.values(), "rest"], 0.0)
    for event in found.key_averages():
        name = event.key.removeprefix("aten::").rstrip("_")
        parts[kinds.get(name, "rest")] += event.self_cpu_time_total / 10_000
    return parts


@torch.inference_mode()
def convolutions() -> Iterator[str]:
    for inputs, outputs, size in [(16, 16, 32), (16, 8, 32), (8, 16, 32), (64, 64, 8), (64, 32, 8), (32, 64, 8)]:
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        x = torch.randn(64, inputs, size, size).contiguous(memory_format=torch.channels_last)
        yield f"{inputs} to {outputs} {1000 * least(lambda layer=layer, x=x: layer(x)):.2f}"


def least(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(20):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return min(times)


@functools.cache
def cifar() -> tuple[Task, dict[str, Tensor]]:
    """CIFAR-10 and the published resnet20."""
    task, start = open_task(TaskSpec(network="resnet20", data="cifar10"), data_root(None))
    return task, dict(start.state)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(timed_rows(sys.argv[1])))
