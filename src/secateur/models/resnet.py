"""ResNet-18 in its CIFAR form: a 3x3 stem, no pooling, projection shortcuts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .init import he


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which projects where the shape changes."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] -> [n, planes, h / stride, w / stride]."""
        out = torch.relu(self.bn1(self.conv1(x)))  # [n, planes, h / stride, w / stride]
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """Four stages of two blocks with 64, 128, 256 and 512 channels.

    Args:
        num_classes, in_channels: of the data; any image size works.
        width: channels of the first stage.

    Shapes: [n, c, h, w] -> [n, classes]. 11,173,962 parameters on 3 channels with 10 classes.

    Paper: He et al. 2016, arXiv 1512.03385. The ImageNet form has a 7x7 stem with stride 2 and a
    pooling behind it, which would leave nothing of a 32x32 image.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.linear = nn.Linear(8 * width, num_classes)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = torch.relu(self.bn1(self.conv1(x)))  # [n, width, h, w]
        x = self.layer1(x)
        x = self.layer2(x)  # [n, 2 width, h/2, w/2]
        x = self.layer3(x)  # [n, 4 width, h/4, w/4]
        x = self.layer4(x)  # [n, 8 width, h/8, w/8]
        x = x.mean((2, 3))  # [n, 8 width]
        return self.linear(x)  # [n, classes]


def _stage(channels: int, planes: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(channels, planes, stride), Block(planes, planes, 1))
