"""VGG for small pictures, with batch norm and one linear layer (Simonyan & Zisserman 2015, arXiv 1409.1556; Liu et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Vgg"]

_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """``depth`` 11, 13, 16 or 19; four poolings, then the mean over what is left. VGG-16: 14.7 M weights, VGG-19: 20.0 M."""

    def __init__(self, input_shape: Sequence[int], classes: int, depth: int = 16) -> None:
        if depth not in _BLOCKS:
            raise ValueError(f"depth = {depth}, expected one of {', '.join(map(str, _BLOCKS))}")
        if min(input_shape[1:]) < 16:
            raise ValueError(f"pictures of {input_shape[1]}x{input_shape[2]}, expected 16x16 or larger")
        super().__init__()
        layers: list[nn.Module] = []
        inputs = input_shape[0]
        for block, (count, width) in enumerate(zip(_BLOCKS[depth], _WIDTHS, strict=True)):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
