"""Torch-Pruning beside the shrinker, on the same masks: part of `python benchmarks/shrink.py --torch-pruning FOLDER`."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (3, 32, 32)


def rivals(drawn: Callable[..., nn.Module], shrink: Callable[..., nn.Module]) -> None:
    """The same masks: what each leaves, and whether its outputs are still the masked network's."""
    print(
        f"\n{'network':<13} {'masked':<34} {'parameters':>10} {'ours':>10} {'error':>8}   Torch-Pruning {'':>10} {'error':>8}"
    )
    for name, label, mask in CASES:
        network = drawn(name, 0, torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))).double()
        mask(network)
        inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        row = [f"{name:<13} {label:<34} {count(network):>10,}"]
        for width, tool in ((0, lambda made: shrink(made, SHAPE)), (16, coupled)):
            try:
                small = tool(network)
                with torch.inference_mode():
                    expected = network(inputs)
                    error = float((small(inputs) - expected).abs().max() / expected.abs().max())
                row.append(f"{'':>{width}}{count(small):>10,} {error:>8.0e}")
            except Exception as failure:  # whatever it says is the result
                row.append(f"{'':>{width}}{type(failure).__name__}: {str(failure).splitlines()[0][:60]}")
        print(" ".join(row), flush=True)
    print(
        "Torch-Pruning is given every channel whose whole group the mask takes; one of each group stays, as it asks for."
    )
    print(
        f"channel 3 of a sum with option A's pad of 2 channels: of the padded layer, channel 1; its group has {padded()}"
    )


def zero(network: nn.Module, wanted: Callable[[str], bool], share: float, alike: bool = False) -> None:
    """``share`` of the channels of norms, drawn anew for each, or ``alike``: the same places in all of one size."""
    draw = np.random.default_rng(0)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and wanted(name):
            size = len(module.weight)
            order = (np.random.default_rng(size) if alike else draw).permutation(size)
            gone = torch.from_numpy(order[: round(share * size)].copy())
            module.weight.data[gone], module.bias.data[gone] = 0, 0


def inside(name: str) -> bool:
    """Of ResNets: norms that touch no residual add."""
    return name.endswith(".bn1")


CASES: list[tuple[str, str, Callable[[nn.Module], None]]] = [
    ("resnet18", "half inside blocks", lambda n: zero(n, inside, 0.5)),
    ("resnet18", "half, alike in coupled norms", lambda n: zero(n, lambda _: True, 0.5, True)),
    ("resnet18", "half, each norm its own", lambda n: zero(n, lambda _: True, 0.5)),
    ("resnet18", "a whole branch", lambda n: zero(n, lambda name: name.startswith("layer3.1."), 1.0)),
    ("resnet20", "half inside blocks", lambda n: zero(n, inside, 0.5)),
    ("resnet20", "half, alike by size (option A)", lambda n: zero(n, lambda _: True, 0.5, True)),
    ("resnet20", "half, each norm its own", lambda n: zero(n, lambda _: True, 0.5)),
    ("mobilenet_v2", "half, each norm its own", lambda n: zero(n, lambda _: True, 0.5)),
]


class Padded(nn.Module):
    """4 channels with 2 zeros on either side, and 8 others, added."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.long, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.pad(self.short(x), (0, 0, 0, 0, 2, 2)) + self.long(x))


def padded() -> list[int]:
    """The channels of ``short`` that Torch-Pruning couples with channel 3 of the sum."""
    import torch_pruning as tp

    network = Padded().eval()
    graph = tp.DependencyGraph().build_dependency(network, torch.randn(1, 3, 4, 4))
    group = graph.get_pruning_group(network.long, tp.prune_conv_out_channels, idxs=[3])
    return [place for item in group if item.dep.target.module is network.short for place in item.idxs]


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def coupled(network: nn.Module) -> nn.Module:
    """What Torch-Pruning's groups let go."""
    import torch_pruning as tp

    network = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(network, torch.randn(1, 3, 32, 32, dtype=torch.float64))
    dead = {m: ((m.weight == 0) & (m.bias == 0)).numpy() for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    cuts = []
    for group in list(graph.get_all_groups()):
        places = [(item.dep.target.module, item.idxs) for item in group if item.dep.target.module in dead]
        root, handler = group[0].dep.target.module, group[0].dep.handler
        if places and all(len(idxs) == len(group[0].idxs) for _, idxs in places):
            gone = np.all([dead[norm][list(idxs)] for norm, idxs in places], axis=0)
            cuts.append((root, handler, [group[0].idxs[i] for i in np.flatnonzero(gone)][: len(gone) - 1]))
    for root, handler, channels in cuts:
        if channels:
            graph.get_pruning_group(root, handler, channels).prune()
    return network
