"""A small convolutional network for small images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .init import he
from .size import ImageSize, at_least


class CNN(nn.Module):
    """Four 3x3 convolutions with batch norm, two poolings, a global mean and a classifier.

    Args:
        num_classes, in_channels: of the data.
        image_size: only checked, because the mean over positions takes any size from 4x4 on.
        width: channels of the first two convolutions; the last two have twice as many.

    Shapes: [n, c, h, w] -> [n, classes].
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: ImageSize = 32,
        width: int = 32,
    ) -> None:
        super().__init__()
        at_least("cnn", image_size, 4)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.conv4 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width, num_classes)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = torch.relu(self.bn1(self.conv1(x)))  # [n, width, h, w]
        x = torch.relu(self.bn2(self.conv2(x)))
        x = F.max_pool2d(x, 2)  # [n, width, h/2, w/2]
        x = torch.relu(self.bn3(self.conv3(x)))  # [n, 2 width, h/2, w/2]
        x = torch.relu(self.bn4(self.conv4(x)))
        x = F.max_pool2d(x, 2)  # [n, 2 width, h/4, w/4]
        x = x.mean((2, 3))  # [n, 2 width]
        return self.linear(x)  # [n, classes]
