"""Networks as people write them by hand: language models from scratch, diffusion, windows, routed experts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CausalBlock(nn.Module):
    """GPT: fused projections split by the width, the fused kernel, and a view of what it returns."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        parts = self.qkv(self.norms[0](x)).split(self.width, dim=2)
        q, k, v = (p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.merge(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.mlp(self.norms[1](x))


class SmallGPT(nn.Module):
    """Tied embeddings, learned positions, two blocks."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(40, width), nn.Embedding(16, width)
        self.blocks = nn.ModuleList(CausalBlock(width) for _ in range(2))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 40, bias=False)
        self.tokens.weight = self.out.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.size(1), device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class RootMean(nn.Module):
    """RMS norm, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.weight


def turned(x: Tensor, by: Tensor) -> Tensor:
    """Neighbouring pairs of [b, t, h, d] as complex numbers, multiplied by [t, d/2] of length 1."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    by = by.view(1, pairs.shape[1], 1, pairs.shape[-1])
    return torch.view_as_real(pairs * by).flatten(3).type_as(x)


class ComplexAttention(nn.Module):
    """Llama: rotary embedding in complex numbers, key-value heads repeated for their query heads."""

    def __init__(self, width: int = 32, heads: int = 4, kv: int = 2) -> None:
        super().__init__()
        self.heads, self.kv, self.repeats, self.head = heads, kv, heads // kv, width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, kv * self.head, bias=False)
        self.v = nn.Linear(width, kv * self.head, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, by: Tensor, mask: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = turned(self.q(x).view(b, t, self.heads, self.head), by).transpose(1, 2)
        k = turned(self.k(x).view(b, t, self.kv, self.head), by)
        v = self.v(x).view(b, t, self.kv, self.head)
        k, v = (self.repeated(part).transpose(1, 2) for part in (k, v))
        weights = (q @ k.transpose(2, 3) / math.sqrt(self.head) + mask).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).contiguous().view(b, t, -1))

    def repeated(self, x: Tensor) -> Tensor:
        b, t, h, d = x.shape
        return x[:, :, :, None].expand(b, t, h, self.repeats, d).reshape(b, t, h * self.repeats, d)


class ComplexLlama(nn.Module):
    """Two layers with gated feed-forward."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.out = nn.Embedding(40, width), nn.Linear(width, 40, bias=False)
        self.attention = nn.ModuleList(ComplexAttention(width) for _ in range(2))
        self.norms = nn.ModuleList(RootMean(width) for _ in range(5))
        self.gates = nn.ModuleList(nn.Linear(width, 64) for _ in range(2))
        self.ups = nn.ModuleList(nn.Linear(width, 64) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(64, width) for _ in range(2))
        angles = torch.outer(torch.arange(16.0), 10000.0 ** (-torch.arange(0, 8, 2) / 8))
        self.register_buffer("by", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        t, x = ids.shape[1], self.tokens(ids)
        mask = torch.triu(torch.full((t, t), float("-inf")), diagonal=1)
        for i, attend in enumerate(self.attention):
            x = x + attend(self.norms[2 * i](x), self.by[:t], mask)
            y = self.norms[2 * i + 1](x)
            x = x + self.downs[i](F.silu(self.gates[i](y)) * self.ups[i](y))
        return self.out(self.norms[-1](x))


class Timed(nn.Module):
    """A residual block of a diffusion network: the time scales and shifts what a group norm gives."""

    def __init__(self, i: int, o: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, i), nn.SiLU(), nn.Conv2d(i, o, 3, padding=1))
        self.time, self.norm = nn.Linear(time, 2 * o), nn.GroupNorm(4, o)
        self.last = nn.Conv2d(o, o, 3, padding=1)
        self.skip = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(F.silu(time))[..., None, None].chunk(2, 1)
        y = self.norm(self.first(x)) * (1 + scale) + shift
        return self.skip(x) + self.last(F.silu(y))


class Diffusion(nn.Module):
    """A U-Net told the time; what comes up is joined with narrower maps, and normed in groups over both."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width, time = width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.enter, self.down = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(16, 16, 3, 2, 1)
        self.fine, self.coarse = Timed(width, width, time), Timed(width, 2 * width, time)
        self.up = Timed(3 * width, width, time)
        self.out = nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        at = x[:, 0, 0, 0].abs() * 100
        half = self.width // 2
        angles = at[:, None] * torch.exp(-math.log(1e4) * torch.arange(half) / half)
        time = self.time(torch.cat([angles.cos(), angles.sin()], -1))
        fine = self.fine(self.enter(x), time)
        coarse = F.interpolate(self.coarse(self.down(fine), time), scale_factor=2.0)
        return self.out(self.up(torch.cat([coarse, fine], 1), time))


def shifted(x: Tensor, attend: WindowAttention, side: int, by: int) -> Tensor:
    """Attention in windows of a padded and rolled map [b, h, w, c], each side of a seam on its own."""
    _, high, wide, _ = x.shape
    x = F.pad(x, (0, 0, 0, (side - wide % side) % side, 0, (side - high % side) % side))
    b, h, w, c = x.shape
    x = torch.roll(x, (-by, -by), (1, 2)) if by else x
    x = x.view(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5)
    n = (h // side) * (w // side)
    x = x.reshape(b * n, side * side, c)
    qkv = F.linear(x, attend.qkv.weight, attend.qkv.bias)
    heads = attend.heads
    qkv = qkv.reshape(x.size(0), x.size(1), 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    weights = F.normalize(qkv[0], dim=-1) @ F.normalize(qkv[1], dim=-1).transpose(-2, -1)
    weights = weights * attend.sharpness.clamp(max=4.6).exp()
    if by:
        area = x.new_zeros((h, w))
        area[-by:] = 1
        area[:, -by:] += 2
        area = area.view(h // side, side, w // side, side).permute(0, 2, 1, 3).reshape(n, -1)
        seam = (area[:, None] - area[:, :, None]).ne(0) * -100.0
        weights = weights.view(b, n, heads, x.size(1), x.size(1)) + seam[None, :, None]
        weights = weights.view(-1, heads, x.size(1), x.size(1))
    y = (weights.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(x.size(0), x.size(1), c)
    y = attend.merge(y).view(b, h // side, w // side, side, side, c).permute(0, 1, 3, 2, 4, 5)
    y = y.reshape(b, h, w, c)
    y = torch.roll(y, (by, by), (1, 2)) if by else y
    return y[:, :high, :wide].contiguous()


class WindowAttention(nn.Module):
    """Swin v2 as a function over the weights of a module, with cosine attention."""

    def __init__(self, width: int, heads: int, side: int, by: int) -> None:
        super().__init__()
        self.heads, self.side, self.by = heads, side, by
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return shifted(x, self, self.side, self.by)


class Windows(nn.Module):
    """Two blocks, the second of shifted windows, and the merging of four neighbours."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.enter, self.norm = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width)
        self.attend = nn.ModuleList(WindowAttention(width, 4, 4, by) for by in (0, 2))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width)) for _ in range(2)
        )
        self.merge, self.out = nn.Linear(4 * width, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.enter(x).permute(0, 2, 3, 1))
        for attend, mlp in zip(self.attend, self.mlps, strict=True):
            x = x + attend(x)
            x = x + mlp(x)
        four = [x[..., i::2, j::2, :] for j in range(2) for i in range(2)]
        return self.out(self.merge(torch.cat(four, -1)).mean((1, 2)))


class Routed(nn.Module):
    """Experts that are given the tokens routed to them, as many as there are."""

    def __init__(self, width: int = 16, experts: int = 3) -> None:
        super().__init__()
        self.enter, self.gate = nn.Linear(6, width), nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 40), nn.SiLU(), nn.Linear(40, width))
            for _ in range(experts)
        )
        self.out = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        flat = x.view(-1, x.shape[-1])
        weights, chosen = self.gate(flat).softmax(-1).topk(2)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            rows, nth = torch.where(chosen == i)
            out[rows] += weights[rows, nth, None] * expert(flat[rows])
        return self.out(out.view(x.shape) + x)


class Bags(nn.Module):
    """DLRM: bags of categories, their products in pairs, one score."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(10, width, mode=mode) for mode in ("sum", "mean"))
        self.top = nn.Sequential(nn.Linear(width + 1, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, ids: Tensor) -> Tensor:
        a, b = (bag(ids % 10) for bag in self.bags)
        product = torch.bmm(a[:, None], b[:, :, None]).squeeze(2)
        return self.top(torch.cat([a, product], 1)).sigmoid()


WRITTEN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "small_gpt": (SmallGPT, (2, 8)),
    "complex_llama": (ComplexLlama, (2, 8)),
    "diffusion": (Diffusion, (2, 3, 8, 8)),
    "windows": (Windows, (2, 3, 20, 20)),
    "routed": (Routed, (2, 7, 6)),
    "bags": (Bags, (2, 5)),
}
