"""Networks in the style of image model collections, each with something known to be hard to trace."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RelativeAttention(nn.Module):
    """Attention in windows of side `side`, with a table of relative positions per head."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = (
            heads,
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads) / 10)
        y, x = (c.flatten() for c in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
        dy, dx = (c[:, None] - c[None, :] + side - 1 for c in (y, x))
        self.register_buffer("index", dy * (2 * side - 1) + dx, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [windows, positions, width]
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class MaxBlock(nn.Module):
    """MaxViT: inverted bottleneck with squeeze-and-excite, attention in windows, then over a grid."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side, wide = side, 4 * width
        self.expand = nn.Sequential(
            nn.BatchNorm2d(width), nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide), nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide), nn.BatchNorm2d(wide), nn.GELU(),
        )  # fmt: skip
        self.squeeze, self.excite = nn.Conv2d(wide, 8, 1), nn.Conv2d(8, wide, 1)
        self.project = nn.Conv2d(wide, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.ModuleList(RelativeAttention(width, 4, side) for _ in range(2))
        self.scale = nn.ParameterList(nn.Parameter(torch.full((width,), 0.1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        gate = self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        x = x + self.project(y * gate)
        x = x.permute(0, 2, 3, 1)  # [b, h, w, c]
        x = x + self.scale[0] * self.windows(self.attention[0], self.norms[0](x))
        x = x + self.scale[1] * self.grid(self.attention[1], self.norms[1](x))
        return x.permute(0, 3, 1, 2)

    def windows(self, attend: nn.Module, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.side
        x = x.view(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        x = attend(x).view(b, h // s, w // s, s, s, c)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)

    def grid(self, attend: nn.Module, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.side
        x = x.view(b, s, h // s, s, w // s, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, s * s, c)
        x = attend(x).view(b, h // s, w // s, s, s, c)
        return x.permute(0, 3, 1, 4, 2, 5).reshape(b, h, w, c)


class Halo(nn.Module):
    """HaloNet: queries of a block attend to the block and a rim around it, cut out by unfolding."""

    def __init__(self, width: int, heads: int = 4, block: int = 4, rim: int = 1) -> None:
        super().__init__()
        self.heads, self.block, self.rim = heads, block, rim
        self.q, self.kv = nn.Conv2d(width, width, 1), nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        s, d, wide = self.block, c // self.heads, self.block + 2 * self.rim
        q = self.q(x).reshape(-1, d, h // s, s, w // s, s).permute(0, 1, 3, 5, 2, 4)
        q = q.reshape(b * self.heads, d, s * s, -1).transpose(1, 3)  # [b heads, blocks, s s, d]
        kv = F.pad(self.kv(x), [self.rim] * 4).unfold(2, wide, s).unfold(3, wide, s)
        kv = kv.reshape(b * self.heads, 2 * d, -1, wide * wide).permute(0, 2, 3, 1)
        k, v = kv.split(d, -1)
        y = (q @ k.transpose(-1, -2) * d**-0.5).softmax(-1) @ v
        y = y.transpose(1, 3).reshape(b * self.heads, d, s, s, h // s, w // s)
        return x + self.out(y.permute(0, 1, 4, 2, 5, 3).reshape(b, c, h, w))


class SplitAttention(nn.Module):
    """ResNeSt: two grouped splits, weighted by a softmax over the splits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(2 * width)
        self.down, self.up = nn.Conv2d(width, 16, 1), nn.Conv2d(16, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x)))
        splits = y.reshape(len(x), 2, self.width, *y.shape[2:])
        gate = self.up(F.relu(self.down(splits.sum(1).mean((2, 3), keepdim=True))))
        weights = gate.view(len(x), 1, 2, self.width).transpose(1, 2).softmax(1)
        return x + (splits * weights.reshape(len(x), 2, self.width, 1, 1)).sum(1)


class Standardised(nn.Conv2d):
    """BiT: every filter has mean 0 and variance 1, by a batch norm over the weight."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(weight, None, None, training=True, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _net(*blocks: nn.Module, width: int) -> nn.Sequential:
    stem = nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))
    return nn.Sequential(stem, *blocks, head)


def maxvit() -> nn.Module:
    """Two MaxViT blocks."""
    return _net(MaxBlock(32, 4), MaxBlock(32, 4), width=32)


def halonet() -> nn.Module:
    """A halo block between bottlenecks."""
    middle = nn.Sequential(nn.Conv2d(16, 32, 1), nn.ReLU(), Halo(32), nn.Conv2d(32, 16, 1))
    return _net(middle, Halo(16), width=16)


def resnest() -> nn.Module:
    """Two split-attention blocks."""
    return _net(SplitAttention(16), nn.ReLU(), SplitAttention(16), width=16)


def standardised() -> nn.Module:
    """Weight-standardised convolutions under group norms, before activation."""
    block = nn.Sequential(
        nn.GroupNorm(4, 16), nn.ReLU(), Standardised(16, 32, 3, padding=1),
        nn.GroupNorm(8, 32), nn.ReLU(), Standardised(32, 16, 1),
    )  # fmt: skip
    return _net(block, width=16)


PITFALLS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "maxvit": (maxvit, (2, 3, 32, 32)),
    "halonet": (halonet, (2, 3, 32, 32)),
    "resnest": (resnest, (2, 3, 16, 16)),
    "standardised": (standardised, (2, 3, 16, 16)),
}
