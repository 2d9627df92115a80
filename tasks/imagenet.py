"""ResNet-18 to 152 (He et al. 2016, arXiv 1512.03385) and MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as torchvision
has them: the same function and names of tensors, so that published weights load. torchvision is imported when one is built.

``stem: small`` is for pictures of 32 pixels: a 3x3 first convolution of stride 1 and no max-pool; in MobileNetV2, whose stem
has neither, the first two strides are 1. Both halve the picture twice less, as in kuangliu/pytorch-cifar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from torch import nn

from tasks.errors import TaskError
from tasks.torchvision_import import import_torchvision

__all__ = ["mobilenet_v2", "resnet"]

_STEMS = ("imagenet", "small")
_SMALL_STAGES = (  # expansion, channels, blocks, stride; torchvision's have stride 2 in the second
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def resnet(depth: int) -> Callable[..., nn.Module]:
    """The factory of one depth: 18, 34, 50, 101 or 152."""

    def build(input_shape: Sequence[int], classes: int, stem: str = "imagenet") -> nn.Module:
        models = _models(f"resnet{depth}", stem)
        network: nn.Module = getattr(models, f"resnet{depth}")(num_classes=classes)
        if stem == "small":
            network.conv1, network.maxpool = _first(input_shape[0], 64, 3, 1), nn.Identity()
        elif input_shape[0] != 3:
            network.conv1 = _first(input_shape[0], 64, 7, 2)
        return network

    return build


def mobilenet_v2(input_shape: Sequence[int], classes: int, stem: str = "imagenet") -> nn.Module:
    """Width 1; tensors of both stems have the same shapes."""
    models = _models("mobilenet_v2", stem)
    small = stem == "small"
    stages = [list(stage) for stage in _SMALL_STAGES] if small else None
    network: nn.Module = models.mobilenet_v2(num_classes=classes, inverted_residual_setting=stages)
    if small or input_shape[0] != 3:
        network.get_submodule("features.0")[0] = _first(input_shape[0], 32, 3, 1 if small else 2)  # type: ignore[operator]
    return network


def _models(name: str, stem: str) -> ModuleType:
    """torchvision.models."""
    if stem not in _STEMS:
        raise TaskError(f"network = {name!r}: stem = {stem!r}: must be one of {', '.join(_STEMS)}")
    try:
        models: ModuleType = import_torchvision().models
    except ImportError as error:
        raise TaskError(f"network = {name!r}: needs torchvision; pip install 'ratefront[vit]' ({error})") from error
    return models


def _first(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Drawn as torchvision draws the convolutions of both families."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return convolution
