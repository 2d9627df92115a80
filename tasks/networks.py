"""Networks by name: one line a member. A factory takes ``input_shape`` (C, H, W), ``classes`` and keywords of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tasks.errors import TaskError
from tasks.factories import call_factory, import_factory, nearest
from tasks.imagenet import mobilenet_v2, resnet
from tasks.lenet import lenet5, mlp
from tasks.resnet import CifarResNet
from tasks.torchvision_import import import_timm
from tasks.vgg import Vgg

__all__ = ["NETWORKS", "Shape", "build_network", "check_network"]

Shape = tuple[int, ...]


def _cifar_resnet(blocks: int) -> Callable[..., nn.Module]:
    def build(input_shape: Shape, classes: int, maps: int = 16) -> nn.Module:
        if not isinstance(maps, int) or maps < 2 or maps % 2:
            raise TaskError(f"network: maps = {maps!r}: must be an even number from 2")
        return CifarResNet(blocks, channels=input_shape[0], classes=classes, maps=maps)

    return build


def _mlp(input_shape: Shape, classes: int, hidden: tuple[int, ...] = (120, 84)) -> nn.Module:
    """3072-120-84-10 for CIFAR-10 (379,774 weights and biases)."""
    return mlp(input_shape, classes, hidden)


def _lenet300(input_shape: Shape, classes: int) -> nn.Module:
    return mlp(input_shape, classes, (300, 100))


def _vgg(depth: int) -> Callable[..., nn.Module]:
    return lambda input_shape, classes: Vgg(input_shape, classes, depth)


def _vit_tiny(input_shape: Shape, classes: int, patch_size: int = 16) -> nn.Module:
    """ViT-Tiny (Touvron et al. 2021, arXiv 2012.12877) through timm, randomly initialised.

    Patches of 16 pixels for pictures of 224 (1.25 G MACs), of 4 for pictures of 32 (0.37 G MACs).
    """
    try:
        timm = import_timm()
    except ImportError as error:
        raise TaskError(f"network = 'vit_tiny': needs timm; pip install 'ratefront[vit]' ({error})") from error
    channels, height, width = input_shape
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise TaskError(
            f"network = 'vit_tiny': pictures of {height}x{width} do not divide into patches of {patch_size}"
        )
    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        num_classes=classes,
        in_chans=channels,
        img_size=(height, width),
        patch_size=patch_size,
    )
    return network


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": _cifar_resnet(3),
    "resnet32": _cifar_resnet(5),
    "resnet44": _cifar_resnet(7),
    "resnet56": _cifar_resnet(9),
    "resnet110": _cifar_resnet(18),
    "resnet1202": _cifar_resnet(200),
    "resnet18": resnet(18),
    "resnet34": resnet(34),
    "resnet50": resnet(50),
    "resnet101": resnet(101),
    "resnet152": resnet(152),
    "mobilenet_v2": mobilenet_v2,
    "mlp": _mlp,
    "lenet300": _lenet300,
    "lenet5": lenet5,
    "vgg16": _vgg(16),
    "vgg19": _vgg(19),
    "vit_tiny": _vit_tiny,
}


def check_network(name: str) -> Callable[..., nn.Module]:
    """The factory of a registered name or a ``package.module:factory``; TaskError for anything else."""
    if ":" in name:
        return import_factory("network", name)
    if name not in NETWORKS:
        raise TaskError(f"network = {name!r}: unknown{nearest(name, NETWORKS)}; or package.module:factory")
    return NETWORKS[name]


def build_network(name: str, input_shape: Shape, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """A fresh network; every ``build`` of one seed is the same."""
    offered = {"input_shape": tuple(input_shape), "classes": classes}
    factory = check_network(name)
    try:
        network = call_factory(f"network {name!r}", factory, offered, arguments)
    except TaskError:
        raise
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        if ":" in name:  # a factory of the user's: its own traceback says more
            raise
        raise TaskError(f"network = {name!r}: {arguments} cannot be built ({error})") from error
    if not isinstance(network, nn.Module):
        raise TaskError(f"network = {name!r}: the factory returned a {type(network).__name__}, expected an nn.Module")
    return network
