"""The CIFAR ResNets of He et al.: three stages and shortcuts without parameters (option A)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import PlanError
from .init import he


class Block(nn.Module):
    """Two 3x3 convolutions beside a parameter-free shortcut."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.extra = stride, planes - channels

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] -> [n, planes, h / stride, w / stride]."""
        out = torch.relu(self.bn1(self.conv1(x)))  # [n, planes, h / stride, w / stride]
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second position, and zero channels on both sides."""
        if self.stride == 1 and self.extra == 0:
            return x
        x = x[:, :, :: self.stride, :: self.stride]  # [n, channels, h / stride, w / stride]
        before = self.extra // 2
        return F.pad(x, (0, 0, 0, 0, before, self.extra - before))  # [n, planes, ...]


class ResNetCIFAR(nn.Module):
    """A stem, three stages of n blocks with w, 2w and 4w channels, and a classifier.

    depth = 6 n + 2 counts the stem, two convolutions a block, and the classifier.

    Args:
        depth: 8, 14, 20, 32, 44, 56, 110, …
        num_classes, in_channels: of the data; any image size works.
        width: channels of the first stage.

    Shapes: [n, c, h, w] -> [n, classes]. On 3 channels with 10 classes ResNet-20, -32 and -56 have
    269,722, 464,154 and 853,018 parameters.

    Paper: He et al. 2016, arXiv 1512.03385, section 4.2.
    """

    def __init__(
        self, depth: int = 20, num_classes: int = 10, in_channels: int = 3, width: int = 16
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise PlanError(f"depth {depth} is not 6n + 2; choose 8, 14, 20, 32, 44, 56 or 110")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.linear = nn.Linear(4 * width, num_classes)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = torch.relu(self.bn1(self.conv1(x)))  # [n, width, h, w]
        x = self.layer1(x)
        x = self.layer2(x)  # [n, 2 width, h/2, w/2]
        x = self.layer3(x)  # [n, 4 width, h/4, w/4]
        x = x.mean((2, 3))  # [n, 4 width]
        return self.linear(x)  # [n, classes]


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Block(planes, planes, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(channels, planes, stride), *rest)


def resnet8(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNetCIFAR:
    """One block a stage: small enough to train on 8x8 digits in seconds."""
    return ResNetCIFAR(8, num_classes, in_channels, width)


def resnet20(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNetCIFAR:
    """Three blocks a stage; 8.75 % test error on CIFAR-10 in the paper."""
    return ResNetCIFAR(20, num_classes, in_channels, width)


def resnet32(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNetCIFAR:
    """Five blocks a stage; 7.51 % test error on CIFAR-10 in the paper."""
    return ResNetCIFAR(32, num_classes, in_channels, width)


def resnet56(num_classes: int = 10, in_channels: int = 3, width: int = 16) -> ResNetCIFAR:
    """Nine blocks a stage; 6.97 % test error on CIFAR-10 in the paper."""
    return ResNetCIFAR(56, num_classes, in_channels, width)
