"""Networks in the style of what people write themselves: branches, recurrence on images, learned queries."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    layer = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(o), nn.ReLU())


class Ghost(nn.Module):
    """GhostNet: half of the channels from a convolution, the rest cheaply from these, cut to the width."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.width = o
        self.first = conv(i, (o + 1) // 2, 1)
        self.cheap = conv((o + 1) // 2, (o + 1) // 2, 3, groups=(o + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat([first, self.cheap(first)], 1)[:, : self.width]


class GhostNet(nn.Module):
    """Two residual ghost bottlenecks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = conv(3, 16), nn.Linear(16, 5)
        self.blocks = nn.ModuleList(nn.Sequential(Ghost(16, 48), Ghost(48, 16)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x.mean((2, 3)))


class HighResolution(nn.Module):
    """HRNet: two branches at two sizes that exchange what they have, then a head over both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.split = conv(3, 16), conv(16, 24, 3, 2)
        self.fine = nn.ModuleList(nn.Sequential(conv(16, 32), conv(32, 16)) for _ in range(2))
        self.coarse = nn.ModuleList(nn.Sequential(conv(24, 40), conv(40, 24)) for _ in range(2))
        self.down = nn.ModuleList(conv(16, 24, 3, 2) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(24, 16, 1) for _ in range(2))
        self.head = nn.Conv2d(40, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x)
        coarse = self.split(fine)
        for f, c, down, up in zip(self.fine, self.coarse, self.down, self.up, strict=True):
            a, b = fine + f(fine), coarse + c(coarse)
            fine = F.relu(a + F.interpolate(up(b), scale_factor=2))
            coarse = F.relu(b + down(a))
        both = [fine, F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")]
        return self.head(torch.cat(both, 1))


class Reader(nn.Module):
    """CRNN: convolutions, columns as a sequence, a two-way LSTM, a score for each column."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(1, 16, stride=2), conv(16, 32, stride=2))
        self.join = nn.Linear(32 * 4, 48)
        self.lstm = nn.LSTM(48, 24, bidirectional=True, batch_first=True)
        self.out = nn.Linear(48, 11)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)  # [N, C, H, W]
        n, c, h, w = y.shape
        columns = y.permute(0, 3, 1, 2).reshape(n, w, c * h)
        return self.out(self.lstm(self.join(columns))[0])


class Latents(nn.Module):
    """Perceiver: learned latents read a long input by cross-attention, then attend to each other."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.latents = nn.Parameter(torch.randn(6, width))
        self.enter = nn.Linear(7, 20)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(20, 2 * width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.ModuleList()
        self.merge.extend(nn.Linear(width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.out = nn.Linear(width, 5)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        weights = (parts[0] * self.scale @ parts[1].transpose(2, 3)).softmax(-1)
        return (weights @ parts[2]).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.latents.expand(x.shape[0], -1, -1)
        k, v = self.kv(self.enter(x).relu()).chunk(2, -1)
        z = z + self.merge[0](self.attend(self.q(self.norms[0](z)), k, v))
        z = z + self.merge[1](self.attend(*self.qkv(self.norms[1](z)).chunk(3, -1)))
        return self.out((z + self.mlp(self.norms[2](z))).mean(1))


class Causal(nn.Module):
    """A block of a TCN: dilated causal convolutions, padded on the left, weight-normed, gated."""

    def __init__(self, i: int, o: int, dilation: int) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.pad = 2 * dilation
        self.gated = norm(nn.Conv1d(i, 2 * o, 3, padding=self.pad, dilation=dilation))
        self.skip = nn.Conv1d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y, gate = self.gated(x)[..., : -self.pad].chunk(2, 1)
        return y.tanh() * gate.sigmoid() + self.skip(x)


def temporal() -> nn.Module:
    """Three causal blocks over time, a score for each step."""
    return nn.Sequential(
        Causal(4, 24, 1), Causal(24, 24, 2), Causal(24, 32, 4), nn.Conv1d(32, 3, 1)
    )


class Bias(nn.Module):
    """EfficientFormer: attention with a learned bias by distance, a layer scale, channels first outside."""

    def __init__(self, width: int = 32, heads: int = 4, side: int = 4) -> None:
        super().__init__()
        self.heads, self.key, self.value = heads, 8, 16
        self.norm = nn.BatchNorm2d(width)
        self.qkv = nn.Conv2d(width, heads * (2 * self.key + self.value), 1)
        self.table = nn.Parameter(torch.randn(heads, side * side))
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        at = torch.stack([y.flatten(), x.flatten()])
        far = (at[:, :, None] - at[:, None]).abs()
        self.register_buffer("index", far[0] * side + far[1], persistent=False)
        self.merge = nn.Conv2d(heads * self.value, width, 1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, self.heads, -1, h * w)
        q, k, v = qkv.split([self.key, self.key, self.value], 2)
        weights = q.transpose(2, 3) @ k * self.key**-0.5 + self.table[:, self.index]
        y = v @ weights.softmax(-1).transpose(2, 3)
        return x + self.scale * self.merge(y.reshape(n, self.heads * self.value, h, w))


def efficient() -> nn.Module:
    """Convolutional stem, two blocks of attention, a classifier."""
    stem = nn.Sequential(conv(3, 16, stride=2), conv(16, 32, stride=2))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stem, Bias(), Bias(), pool, nn.Linear(32, 5))


MIXED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ghostnet": (GhostNet, (2, 3, 16, 16)),
    "hrnet": (HighResolution, (2, 3, 16, 16)),
    "crnn": (Reader, (2, 1, 16, 24)),
    "perceiver": (Latents, (2, 9, 7)),
    "tcn": (temporal, (2, 4, 20)),
    "efficientformer": (efficient, (2, 3, 16, 16)),
}
