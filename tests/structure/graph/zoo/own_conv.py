"""Convolutional test networks written out: what no configuration of `transformers` covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(cin: int, cout: int, k: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU())


def head(width: int) -> nn.Sequential:
    """Pool, flatten, classify."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


class DenseLayer(nn.Module):
    """Norm, bottleneck, convolution; the result is laid beside the input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """Two dense blocks with a transition between."""

    def __init__(self, growth: int = 8, layers: int = 3) -> None:
        super().__init__()
        width, parts = 16, []
        for stage in range(2):
            for _ in range(layers):
                parts.append(DenseLayer(width, growth))
                width += growth
            if stage == 0:
                parts.append(nn.Sequential(block(width, width // 2, 1), nn.AvgPool2d(2)))
                width //= 2
        self.stem, self.body, self.head = block(3, 16), nn.Sequential(*parts), head(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class ShuffleUnit(nn.Module):
    """Half of the channels pass, half are convolved; then the channels are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            block(half, half, 1),
            nn.Conv2d(half, half, 3, padding=1, groups=half),
            block(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Inception(nn.Module):
    """Four branches laid side by side."""

    def __init__(self, cin: int, widths: Sequence[int]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.b1 = block(cin, a, 1)
        self.b2 = nn.Sequential(block(cin, b, 1), block(b, b))
        self.b3 = nn.Sequential(block(cin, c, 1), block(c, c), block(c, c))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(cin, d, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class Factored(nn.Module):
    """Inception with 1 x 7 and 7 x 1 convolutions."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(cin, width, (1, 7), padding=(0, 3))
        self.b = nn.Conv2d(width, width, (7, 1), padding=(3, 0))
        self.c = block(cin, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b(F.relu(self.a(x))), self.c(x)], 1)


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate computed from their means."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return x * gate


class Inverted(nn.Module):
    """MobileNet v3: expand, depthwise, squeeze-and-excite, project."""

    def __init__(self, cin: int, inner: int, cout: int, stride: int) -> None:
        super().__init__()
        self.expand, self.depth = (
            nn.Conv2d(cin, inner, 1, bias=False),
            block(inner, inner, 3, stride, inner),
        )
        self.bn, self.se = nn.BatchNorm2d(inner), SqueezeExcite(inner, 8)
        self.project, self.same = nn.Conv2d(inner, cout, 1), stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depth(F.hardswish(self.bn(self.expand(x))))))
        return x + y if self.same else y


class UNet(nn.Module):
    """Down, up by transposed convolutions and by resampling, with skips laid beside."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.mid = block(3, 16), block(16, 24), block(24, 32)
        self.up2 = nn.ConvTranspose2d(32, 24, 2, 2)
        self.u2, self.u1, self.out = block(48, 24), block(24 + 16, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        y = self.u2(torch.cat([self.up2(c), b], 1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.u1(torch.cat([y, a], 1)))


class Partial(nn.Module):
    """CSP: one part passes, the other goes through residual bottlenecks, all laid together."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.half = width // 2
        self.enter, self.leave = block(width, width, 1), block(self.half * (2 + steps), width, 1)
        self.steps = nn.ModuleList(
            nn.Sequential(block(self.half, self.half), block(self.half, self.half))
            for _ in range(steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for step in self.steps:
            parts.append(parts[-1] + step(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Detector(nn.Module):
    """A one-stage detector: CSP backbone, pyramid pooling, a top-down path, two heads with anchors."""

    def __init__(self, anchors: int = 3, classes: int = 2) -> None:
        super().__init__()
        self.anchors, self.outputs = anchors, 5 + classes
        self.stem, self.c1 = block(3, 16, 3, 2), nn.Sequential(block(16, 24, 3, 2), Partial(24, 1))
        self.c2 = nn.Sequential(block(24, 32, 3, 2), Partial(32, 1))
        self.pool = block(32 * 3, 32, 1)
        self.lateral = nn.Sequential(block(32 + 24, 24, 1), Partial(24, 1))
        self.heads = nn.ModuleList(nn.Conv2d(w, anchors * self.outputs, 1) for w in (24, 32))

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.c1(self.stem(x))
        b = self.c2(a)
        once = F.max_pool2d(b, 5, 1, 2)
        b = self.pool(torch.cat([b, once, F.max_pool2d(once, 5, 1, 2)], 1))
        a = self.lateral(torch.cat([F.interpolate(b, scale_factor=2.0), a], 1))
        found = [h(y) for h, y in zip(self.heads, (a, b), strict=True)]
        return [self.decode(y) for y in found]

    def decode(self, y: Tensor) -> Tensor:
        n, _, h, w = y.shape
        y = y.view(n, self.anchors, self.outputs, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        xy, wh, rest = y.split([2, 2, self.outputs - 4], 4)
        return torch.cat([xy * 2, (wh * 2) ** 2, rest], 4).reshape(n, -1, self.outputs)


class GroupedResidual(nn.Module):
    """ResNeXt blocks."""

    def __init__(self, width: int = 32, groups: int = 4) -> None:
        super().__init__()
        self.stem, self.head = block(3, width), head(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                block(width, width, 1), block(width, width, 3, 1, groups), block(width, width, 1)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for inner in self.blocks:
            x = F.relu(x + inner(x))
        return self.head(x)


class Large(nn.Module):
    """VAN: attention by large kernels, a gate on the residual, layer scales."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem, self.head = block(3, width, 3, 2), head(width)
        self.enter, self.leave = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.far = nn.Conv2d(width, width, 7, padding=9, dilation=3, groups=width)
        self.mix, self.norm = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
        self.scale = nn.Parameter(1e-2 * torch.ones(width))
        self.fc1, self.fc2 = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(3 * width, width, 1)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.gelu(self.enter(self.norm(x)))
        y = self.leave(y * self.mix(self.far(self.near(y))))
        x = x + self.scale[:, None, None] * y
        return self.head(x + self.scale.unsqueeze(-1).unsqueeze(-1) * self.mlp(x))

    def mlp(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.depth(self.fc1(x))))


class Volume(nn.Module):
    """3-d and 1-d convolutions, plain and transposed, with group and instance norms."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n1 = nn.Conv3d(2, 16, 3, padding=1), nn.GroupNorm(4, 16)
        self.b, self.n2 = (
            nn.ConvTranspose3d(16, 16, 2, 2, groups=2),
            nn.InstanceNorm3d(16, affine=True),
        )
        self.c, self.d = nn.Conv1d(16, 24, 3, padding=1), nn.ConvTranspose1d(24, 12, 4, 2, 1)
        self.e = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.n1(self.a(x)))
        y = F.relu(self.n2(self.b(y))).mean((3, 4))
        return self.e(self.d(F.relu(self.c(y))).amax(2))


class SuperResolution(nn.Module):
    """Residual convolutions, then channels become pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = (
            nn.Conv2d(3, 24, 3, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.PReLU(24),
        )
        self.grow, self.shuffle = nn.Conv2d(24, 64, 3, padding=1), nn.PixelShuffle(2)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.b(self.act(x))
        return self.out(self.shuffle(self.grow(x)))


def vgg() -> nn.Module:
    """Plain convolutions, flattened into fully connected layers."""
    layers: list[nn.Module] = []
    for cin, cout in ((3, 16), (16, 24), (24, 32)):
        layers += [
            nn.Conv2d(cin, cout, 3, padding=1),
            nn.BatchNorm2d(cout),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    tail = [nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 5)]
    return nn.Sequential(*layers, *tail)


def googlenet() -> nn.Module:
    """Two inception blocks with a local response norm before them left out."""
    return nn.Sequential(
        block(3, 16),
        nn.MaxPool2d(2),
        Inception(16, (8, 12, 8, 4)),
        Inception(32, (8, 16, 4, 4)),
        head(32),
    )


CONV: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "densenet": (DenseNet, (2, 3, 32, 32)),
    "shufflenet": (
        lambda: nn.Sequential(block(3, 32), ShuffleUnit(32), ShuffleUnit(32), head(32)),
        (2, 3, 16, 16),
    ),
    "googlenet": (googlenet, (2, 3, 32, 32)),
    "inception": (
        lambda: nn.Sequential(
            block(3, 16), Factored(16, 16), Inception(32, (8, 8, 8, 8)), head(32)
        ),
        (2, 3, 24, 24),
    ),
    "mobilenet_v3": (
        lambda: nn.Sequential(
            block(3, 16, 3, 2),
            Inverted(16, 48, 16, 1),
            Inverted(16, 64, 24, 2),
            Inverted(24, 64, 24, 1),
            head(24),
        ),
        (2, 3, 32, 32),
    ),
    "vgg": (vgg, (2, 3, 32, 32)),
    "unet": (UNet, (2, 3, 32, 32)),
    "yolo": (Detector, (2, 3, 64, 64)),
    "resnext": (GroupedResidual, (2, 3, 16, 16)),
    "van": (Large, (2, 3, 32, 32)),
    "volume": (Volume, (2, 2, 4, 4, 4)),
    "super_resolution": (SuperResolution, (2, 3, 8, 8)),
}
