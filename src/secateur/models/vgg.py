"""VGG-16 with batch norm in its CIFAR form: one linear layer instead of three."""

from __future__ import annotations

from torch import Tensor, nn

from .init import he
from .size import ImageSize, at_least

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage at width 64."""


class VGG16BN(nn.Module):
    """Thirteen 3x3 convolutions in five stages, each stage ended by a pooling.

    Args:
        num_classes, in_channels: of the data.
        image_size: at least 32, because five poolings halve it five times.
        width: channels of the first stage; the last two have eight times as many.

    Shapes: [n, c, h, w] -> [n, classes]. 14,724,042 parameters on 3 channels with 10 classes; the
    convolutions have no bias, because the batch norm behind each has one.

    Paper: Simonyan and Zisserman 2015, arXiv 1409.1556; the CIFAR form as in Liu et al. 2019,
    arXiv 1810.05270.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: ImageSize = 32,
        width: int = 64,
    ) -> None:
        super().__init__()
        at_least("vgg16-bn", image_size, 32)
        layers: list[nn.Module] = []
        channels = in_channels
        for planes, depth in _STAGES:
            out = planes * width // 64
            for _ in range(depth):
                layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, num_classes)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = self.features(x)  # [n, 8 width, h/32, w/32]
        x = x.mean((2, 3))  # [n, 8 width]
        return self.linear(x)  # [n, classes]
