"""The small networks of the compression literature, for pictures such as MNIST's."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

__all__ = ["lenet5", "mlp"]


def mlp(input_shape: Sequence[int], classes: int, hidden: Sequence[int]) -> nn.Module:
    """Fully connected with ReLU: LeNet-300-100 (LeCun et al. 1998) for hidden (300, 100): 266,610 weights and biases."""
    inputs = math.prod(input_shape)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, outputs in enumerate(hidden, 1):
        layers[f"fc{number}"], layers[f"relu{number}"] = nn.Linear(inputs, outputs), nn.ReLU()
        inputs = outputs
    layers[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def lenet5(input_shape: Sequence[int], classes: int) -> nn.Module:
    """LeNet-5 as Caffe has it, 20 and 50 maps, 500 units: 431,080 weights and biases for 28 x 28 pixels; ReLU throughout.

    ValueError for pictures too small for two kernels of 5 x 5.
    """
    channels, height, width = input_shape
    rows, columns = ((n - 4) // 2 for n in (height, width))
    rows, columns = ((n - 4) // 2 for n in (rows, columns))
    if min(rows, columns) < 1:
        raise ValueError(f"pictures of {height}x{width}, expected 16x16 or larger")
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, 20, 5),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(20, 50, 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(50 * rows * columns, 500),
        relu3=nn.ReLU(),
        fc2=nn.Linear(500, classes),
    )
    return nn.Sequential(layers)
