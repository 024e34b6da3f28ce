"""`nn.MultiheadAttention` whose heads together are narrower or wider than what it reads and gives."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NarrowAttention(nn.MultiheadAttention):
    r"""out = concat_h(softmax(s · q_h k_hᵀ + mask) v_h) W_oᵀ + b_o for any number of heads of any width.

    Torch's own derives the width of a head from `embed_dim // num_heads`, so that it cannot lose a
    head, or input width alone. Here the widths are those of the weights: `num_heads` divides the rows
    of the projections, and s = 1 / √`head_dim` stays that of the network before. A module becomes one
    by its class alone: tensors, their names and all settings are those of torch.

    Shapes: `in_proj_weight` [2 · heads · d_qk + heads · d_v, in], or `q_proj_weight` [heads · d_qk, in],
    `k_proj_weight` [heads · d_qk, kdim] and `v_proj_weight` [heads · d_v, vdim]; `out_proj.weight`
    [out, heads · d_v].
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's: (output, attention weights where they are asked for)."""
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask; pass the mask as well")
        batched = query.dim() == 3
        q, k, v = self._projected(*(self._rows_first(x, batched) for x in (query, key, value)))
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        added = k.shape[2] - (key.shape[1] if batched and self.batch_first else key.shape[0])
        if is_causal and key_padding_mask is None and not need_weights:
            mask, causal = None, True  # as torch: what is appended lies behind every query then
        else:
            mask, causal = self._mask(attn_mask, key_padding_mask, q, added), False
        out, weights = self._attend(q, k, v, mask, causal, need_weights)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _rows_first(self, x: Tensor, batched: bool) -> Tensor:
        """[batch, length, features]."""
        if not batched:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [batch, length, heads · width], the latter two with what is appended."""
        weights, biases = self._weights()
        if self.in_proj_weight is not None and query is key and key is value:
            sizes = [len(weight) for weight in weights]
            parts = F.linear(query, self.in_proj_weight, self.in_proj_bias).split(sizes, dim=-1)
            q, k, v = parts
        else:
            each = zip((query, key, value), weights, biases, strict=True)
            q, k, v = (F.linear(x, weight, bias) for x, weight, bias in each)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), -1, -1)], dim=1)
            v = torch.cat([v, self.bias_v.expand(len(v), -1, -1)], dim=1)
        if self.add_zero_attn:
            k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        return q, k, v

    def _weights(self) -> tuple[list[Tensor], list[Any]]:
        """Weights and biases of the three projections."""
        packed: Tensor | None = self.in_proj_weight
        if packed is None:
            weights: list[Tensor] = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        else:
            width = self.out_proj.weight.shape[1]
            rows = (len(packed) - width) // 2
            weights = list(packed.split([rows, rows, width]))
        if self.in_proj_bias is None:
            return weights, [None] * 3
        return weights, list(self.in_proj_bias.split([len(weight) for weight in weights]))

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, added: int
    ) -> Tensor | None:
        """What is added to the scores [batch, heads or 1, length, keys]; appended keys are never hidden."""
        if attn_mask is not None and attn_mask.dim() == 3:  # one for each head of each sample
            attn_mask = attn_mask.unflatten(0, (-1, self.num_heads))
        if padding is not None:
            padding = padding[..., None, None, :]  # [batch, 1, 1, keys], or without the batch
        given = [_added(mask, q.dtype) for mask in (attn_mask, padding) if mask is not None]
        if not given:
            return None
        mask = given[0] + given[1] if len(given) == 2 else given[0]
        return F.pad(mask, (0, added)) if added else mask

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What the heads put out [batch, heads, length, width], and their weights if asked for."""
        scale = self.head_dim**-0.5
        dropped = self.dropout if self.training else 0.0
        if not need_weights:
            out = F.scaled_dot_product_attention(q, k, v, mask, dropped, causal, scale=scale)
            return out, None
        scores = q * scale @ k.transpose(-2, -1)
        weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = F.dropout(weights, dropped, self.training)
        return weights @ v, weights


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added: -inf where a bool mask is True."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


ATTENTION = (nn.MultiheadAttention, NarrowAttention)
"""Whose settings are known here; a subclass of somebody's own may read others."""


def fits(module: nn.MultiheadAttention) -> bool:
    """Whether torch's own code can run the weights that a module has."""
    width, packed = module.out_proj.weight.shape[0], module.in_proj_weight
    inner = module.out_proj.weight.shape[1]
    if packed is not None:
        return tuple(packed.shape) == (3 * width, width) and inner == width
    rows = [len(w) for w in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)]
    return rows == [width] * 3 and inner == width and module.q_proj_weight.shape[1] == width
