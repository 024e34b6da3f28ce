"""Test networks with attention, recurrence and unusual operators, written out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """`nn.TransformerEncoder` over embeddings, in training form (no fused kernel)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.enter, self.out = nn.Linear(6, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(self.enter(x)).mean(1))


class MultiHead(nn.Module):
    """`nn.MultiheadAttention` across two sequences of different width."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.other = nn.Linear(6, 32), nn.Linear(6, 24)
        self.attend = nn.MultiheadAttention(32, 4, kdim=24, vdim=24, batch_first=True)
        self.out = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attend(self.enter(x), self.other(x), self.other(x), need_weights=False)
        return self.out(F.gelu(y).sum(1))


class Fused(nn.Module):
    """Fused query-key-value for grouped heads, rotary embedding, fused gate and up, RMS norms."""

    def __init__(self, width: int = 32, heads: int = 4, shared: int = 2, wide: int = 48) -> None:
        super().__init__()
        self.heads, self.shared, self.d = heads, shared, width // heads
        self.norm, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, (heads + 2 * shared) * self.d, bias=False)
        self.merge, self.gate_up = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * wide)
        self.down = nn.Linear(wide, width)
        self.register_buffer(
            "frequency", 1e4 ** -torch.linspace(0, 1, self.d // 2), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        qkv = (
            self.qkv(self.norm(x))
            .view(n, length, self.heads + 2 * self.shared, self.d)
            .transpose(1, 2)
        )
        q, k, v = qkv.split([self.heads, self.shared, self.shared], 1)
        q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.merge(y.transpose(1, 2).reshape(n, length, self.heads * self.d))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def rotate(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[2], device=x.device)[:, None] * self.frequency
        angle = torch.cat([angle, angle], -1)
        a, b = x.chunk(2, -1)
        return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()


class Decoder(nn.Module):
    """Two fused blocks between embeddings tied to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Embedding(40, 32), nn.Sequential(Fused(), Fused())
        self.norm, self.out = nn.RMSNorm(32), nn.Linear(32, 40, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.blocks(self.embed(x))))


class Einsum(nn.Module):
    """Attention by einsum with one key-value head, and a bilinear form."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = (
            nn.Parameter(torch.randn(6, 4, 8) / 3),
            nn.Parameter(torch.randn(2, 6, 8) / 3),
        )
        self.merge, self.norm = nn.Parameter(torch.randn(4, 8, 32) / 6), nn.LayerNorm(32)
        self.a, self.b = nn.Linear(32, 16), nn.Linear(32, 12)
        self.out = nn.Bilinear(16, 12, 5)

    def forward(self, x: Tensor) -> Tensor:
        q = torch.einsum("bld,dhe->bhle", x, self.q)
        k, v = torch.einsum("...d,kde->k...e", x, self.kv)
        p = torch.einsum("bhle,bse->bhls", q, k).softmax(-1)
        y = torch.einsum("bhls, bse, hef -> blf", p, v, self.merge)
        y = self.norm(y).relu().sum(1)
        return self.out(self.a(y).tanh(), self.b(y).tanh())


class Recurrent(nn.Module):
    """A two-way LSTM of two layers, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.lstm = nn.LSTM(16, 24, 2, bidirectional=True, batch_first=True)
        self.gru, self.out = nn.GRU(48, 20, batch_first=True), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.embed(x))
        y, _ = self.gru(y)
        return self.out(y[:, -1])


class WeightNormed(nn.Module):
    """Weight-normed convolutions and linear layers, old and new style."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 16, 3, padding=1))
        self.b = nn.utils.parametrizations.weight_norm(nn.Linear(16, 24))
        self.c = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.elu(self.b(F.leaky_relu(self.a(x)).sum(2))))


class Mixture(nn.Module):
    """Four experts of one 3-d weight each way, weighted by a softmax router."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.router = nn.Linear(6, 24), nn.Linear(24, 4)
        self.up, self.down = (
            nn.Parameter(torch.randn(4, 24, 32) / 5),
            nn.Parameter(torch.randn(4, 32, 24) / 5),
        )
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        weight = self.router(x).softmax(-1)  # [N, L, E]
        flat = x.flatten(0, 1).expand(4, -1, -1)  # [E, N L, D]
        y = torch.bmm(F.gelu(torch.bmm(flat, self.up)), self.down).view(4, *x.shape)
        y = (y * weight.permute(2, 0, 1).unsqueeze(-1)).sum(0)
        return self.out((x + y).sum(1))


class LinearAttention(nn.Module):
    """Keys and values are multiplied first; softmax runs over the head width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter, self.qkv, self.out = (
            nn.Linear(6, width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(self.enter(x)).reshape(n, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        q, k = q.softmax(-1), k.softmax(-2)
        y = q @ (k.transpose(-2, -1) @ v)
        return self.out(y.transpose(1, 2).reshape(n, length, -1).sum(1))


def mixer() -> nn.Module:
    """MLP-Mixer: layers over tokens and over channels."""
    return Mixer()


class Mixer(nn.Module):
    """One mixer block."""

    def __init__(self, tokens: int = 16, width: int = 24) -> None:
        super().__init__()
        self.patch, self.n1, self.n2 = (
            nn.Conv2d(3, width, 4, 4),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.t1, self.t2 = nn.Linear(tokens, 32), nn.Linear(32, tokens)
        self.c1, self.c2, self.out = nn.Linear(width, 48), nn.Linear(48, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.t2(F.gelu(self.t1(self.n1(x).mT))).mT
        x = x + self.c2(F.gelu(self.c1(self.n2(x))))
        return self.out(x.mean(1))


OTHER: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "transformer_encoder": (Encoder, (2, 7, 6)),
    "multihead": (MultiHead, (2, 7, 6)),
    "fused_decoder": (Decoder, (2, 7)),
    "einsum": (Einsum, (2, 7, 6)),
    "recurrent": (Recurrent, (2, 7)),
    "weight_norm": (WeightNormed, (2, 4, 9)),
    "mixture": (Mixture, (2, 7, 6)),
    "linear_attention": (LinearAttention, (2, 7, 6)),
    "mixer": (mixer, (2, 3, 16, 16)),
}
