"""A small vision transformer whose query, key and value are layers of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import PlanError
from .size import ImageSize, height_width


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v for each head of d dimensions."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.head_dim, self.dropout = dim // heads, dropout
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, dim] -> [n, tokens, dim]."""
        q, k, v = (self.split(layer(x)) for layer in (self.q, self.k, self.v))
        drop = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=drop)  # [n, heads, tokens, d]
        return self.proj(out.transpose(1, 2).flatten(2))  # [n, tokens, dim]

    def split(self, x: Tensor) -> Tensor:
        """[n, tokens, heads * d] -> [n, heads, tokens, d], for however many heads are left."""
        return x.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a shortcut (pre-norm)."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, dim] -> [n, tokens, dim]."""
        x = x + self.drop(self.attn(self.norm1(x)))
        h = F.gelu(self.fc1(self.norm2(x)))  # [n, tokens, hidden]
        return x + self.drop(self.fc2(h))


class ViT(nn.Module):
    """Patches become tokens, a class token reads them through the blocks.

    Args:
        num_classes, in_channels: of the data.
        image_size: fixed, because every position has an embedding; a multiple of `patch`.
        patch: side of a patch in pixels.
        dim, depth, heads: width, blocks, and attention heads; `heads` divides `dim`.
        mlp: hidden neurons of a block's perceptron as a multiple of `dim`.
        dropout: on attention weights and on what each half of a block adds; 0 by default.

    Shapes: [n, c, h, w] -> [n, classes].

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929. There one layer gives query, key and value
    at once; here they are three, so that each can be named and pruned by itself.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: ImageSize = 32,
        patch: int = 4,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        tokens = _tokens(image_size, patch)
        if dim % heads:
            raise PlanError(f"vit: heads={heads} does not divide dim={dim}; choose one that does")
        self.patches = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, 1 + tokens, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, mlp * dim, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x = self.patches(x).flatten(2).transpose(1, 2)  # [n, tokens, dim]
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)  # [n, 1 + tokens, dim]
        x = self.blocks(x + self.position)
        return self.head(self.norm(x[:, 0]))  # [n, classes]


def _tokens(image_size: ImageSize, patch: int) -> int:
    """How many patches an image has."""
    height, width = height_width(image_size)
    if patch < 1 or height % patch or width % patch:
        raise PlanError(
            f"vit: patch={patch} does not divide images of {height}x{width}; choose one that does"
        )
    return (height // patch) * (width // patch)


def _initialise(model: ViT) -> None:
    """Linear layers and embeddings from a normal of 0.02, cut at two deviations; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(module.bias)
    for table in (model.token, model.position):
        nn.init.trunc_normal_(table, std=0.02, a=-0.04, b=0.04)
