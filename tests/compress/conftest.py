from collections import OrderedDict

import pytest
import torch
from torch import nn


def _small_network(hidden=4):
    layers = OrderedDict(
        conv=nn.Conv2d(1, hidden, 3, padding=1, bias=False),
        bn=nn.BatchNorm2d(hidden),
        relu=nn.ReLU(),
        flatten=nn.Flatten(),
        fc=nn.Linear(hidden * 16, 3),
    )
    return nn.Sequential(layers)


@pytest.fixture
def build():
    """A factory of small convolutional networks for inputs (1, 4, 4), with a batch norm that has seen data."""

    def make(hidden=4, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _small_network(hidden)
            network(torch.randn(8, 1, 4, 4))
        return network

    return make


@pytest.fixture
def no_batches():
    return lambda: iter(())
