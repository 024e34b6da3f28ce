"""LeNet-300-100: two hidden layers, the network the lottery-ticket hypothesis was found on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .init import he
from .size import ImageSize, height_width


class LeNet300100(nn.Module):
    """A perceptron with hidden layers of 300 and 100 neurons.

    Args:
        num_classes: classes to tell apart.
        in_channels, image_size: of the images; the pixels are flattened.

    Shapes: [n, c, h, w] -> [n, classes]. 266,610 parameters on 1x28x28 with 10 classes.

    Paper: LeCun et al. 1998, "Gradient-based learning applied to document recognition".
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: ImageSize = 28
    ) -> None:
        super().__init__()
        height, width = height_width(image_size)
        self.fc1 = nn.Linear(in_channels * height * width, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, num_classes)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = x.flatten(1)  # [n, c * h * w]
        x = torch.relu(self.fc1(x))  # [n, 300]
        x = torch.relu(self.fc2(x))  # [n, 100]
        return self.fc3(x)  # [n, classes]
