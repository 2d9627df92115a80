"""ResNets for small pictures (He et al. 2016, arXiv 1512.03385, section 4.2), option A shortcuts.

6n + 2 layers in three stages of ``maps``, 2·maps and 4·maps channels; a shortcut that changes shape takes every second
pixel and pads the missing channels with zeros, half before and half after. Names of tensors are those of the published
CIFAR-10 weights (akamaster/pytorch_resnet_cifar10, BSD-2-Clause), which therefore load.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CifarResNet"]


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """``blocks`` a stage; input (N, ``channels``, H, W), output (N, ``classes``) logits."""

    def __init__(self, blocks: int, channels: int = 3, classes: int = 10, maps: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3(channels, maps), nn.BatchNorm2d(maps)
        self.layer1 = self._stage(blocks, maps, maps, 1)
        self.layer2 = self._stage(blocks, maps, 2 * maps, 2)
        self.layer3 = self._stage(blocks, 2 * maps, 4 * maps, 2)
        self.linear = nn.Linear(4 * maps, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = _Block(inputs, outputs, stride)
        return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
