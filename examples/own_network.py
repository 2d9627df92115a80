"""Your own network on your own data: how few bytes tell three spirals apart? `python examples/own_network.py`"""

import sys

import numpy as np
from torch import nn

from search import Settings, run
from search.summary import front_table
from search_spaces import Space
from tasks import Arrays, Source


def network(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))


def data() -> Source:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 6000)
    radius = random.uniform(0.1, 1, 6000)
    angle = 6 * radius + labels * 2 * np.pi / 3 + random.normal(0, 0.1, 6000)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    train, test = Arrays(points[:5000], labels[:5000]), Arrays(points[5000:], labels[5000:])
    return Source(name="spirals", train=train, test=test, classes=("red", "green", "blue"), holdout=1000)


SPACE = {
    "method": "deadzone",
    "task": {"network": "own_network:network", "data": "own_network:data", "start_epochs": 30},
    "budget": {"trials": 8, "epochs": 10},
    "search": {
        "max_bits": {"type": "int", "low": 3, "high": 8},
        "init_deadzone_logit": {"type": "float", "low": 0.4, "high": 2.0},
    },
    "optimizer": {"base": {"lr": 3e-3}, "dz": {"lr": 1e-2}, "bit": {"lr": 1e-2}},
}

if __name__ == "__main__":
    print(front_table(run(Space.from_raw("spirals", "own_network.py", SPACE), Settings(name=(sys.argv + [None])[1]))))
