"""Layers that set small values of what they multiply to zero: linear ones, and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..core.run_time import RunTimeLayer, Work
from .cut import Cut, cuts_of


class _Around(RunTimeLayer):
    """Around a layer; who asks for what it lacks is given the layer's."""

    inner: nn.Module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


class ThresholdedLinear(_Around):
    """y = W cut(x) + b: inputs below the threshold are zero, and their products could be left out.

    A dense kernel multiplies by the zeros all the same and saves nothing. Needed, so counted, are
    products with an input that is not zero.

    Shapes: [n, ..., in] -> [n, ..., out].

    Args:
        inner: a linear layer.
        outputs: how many outputs each input goes to.
        points: of the curve.
    """

    def __init__(self, inner: nn.Module, outputs: int, points: int) -> None:
        super().__init__()
        self.inner, self.outputs = inner, outputs
        self.cut = Cut(points, device=next(inner.parameters()).device)

    def wrong(self) -> str:
        """Of its cut."""
        return self.cut.wrong()

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        x = self.cut(x)
        if self.heard is not None:
            used, units = _used(x), x.shape[1:].numel()
            self.tell(Work(float(units * self.outputs), used.double() * self.outputs, units, used))
        out: Tensor = self.inner(x)
        return out


class ThresholdedAttention(_Around):
    """softmax(cut(q) cut(k)ᵀ · scale + mask), cut, times cut(v): a layer whose attention multiplies fewer.

    The one call of `scaled_dot_product_attention` inside the layer is computed so. Needed are products of
    two values neither of which is zero; so of probabilities that a mask makes zero, none.

    Args:
        inner: the layer that makes the call.
        points: of the curve.
    """

    holds: ClassVar[bool] = False

    def __init__(self, inner: nn.Module, points: int) -> None:
        super().__init__()
        self.inner = inner
        device = next((p.device for p in inner.parameters()), None)
        parts = ("query", "key", "probabilities", "value")
        self.cuts = nn.ModuleDict({part: Cut(points, -2, device) for part in parts})

    def wrong(self) -> str:
        """Of its cuts."""
        return next(filter(None, (cut.wrong() for cut in cuts_of(self.cuts))), "")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives, its attention computed as the class says."""
        with _Attending(self.attend):
            return self.inner(*args, **kwargs)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        """[n, ..., L, d], [n, ..., S, d], [n, ..., S, v] -> [n, ..., L, v]; arguments as torch has them."""
        q, k, v = (
            self.cuts[part](x) for part, x in (("query", query), ("key", key), ("value", value))
        )
        if enable_gqa:
            k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        scores, there = _masked(scores, attn_mask, is_causal)
        p = scores.softmax(-1)
        if there is not None:  # a query that may see nothing
            p = p.masked_fill(~there.any(-1, keepdim=True), 0.0)
        p = self.cuts["probabilities"](p, there)
        if self.heard is not None:
            self.tell(_work(q, k, p, v))
        return F.dropout(p, dropout_p, dropout_p > 0) @ v


class _Attending(TorchFunctionMode):
    """Inside, attention is computed by another function."""

    def __init__(self, attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self.attend = attend

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = self.attend if func is F.scaled_dot_product_attention else func
        return made(*args, **(kwargs or {}))


def _masked(scores: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor | None]:
    """Scores [n, ..., L, S] behind the mask, and which of them it lets through."""
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores, None
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf), mask
    return scores + mask, mask > torch.finfo(mask.dtype).min / 2


def _work(q: Tensor, k: Tensor, p: Tensor, v: Tensor) -> Work:
    """Σ_d |q_·d|₀ |k_·d|₀ products of the scores and Σ_s |p_·s|₀ |v_s·|₀ of the sum, by sample."""
    (q_, k_, p_, v_) = ((x != 0) for x in (q, k, p, v))
    scores = (q_.sum(-2) * k_.sum(-2)).flatten(1).sum(1)
    sums = (p_.sum(-2) * v_.sum(-1)).flatten(1).sum(1)
    dense = float(p.shape[1:].numel() * (q.shape[-1] + v.shape[-1]))
    used = sum(_used(x) for x in (q, k, p, v))
    assert isinstance(used, Tensor)
    units = sum(x.shape[1:].numel() for x in (q, k, p, v))
    return Work(dense, (scores + sums).double(), units, used)


def _used(x: Tensor) -> Tensor:
    """[n] values that are not zero."""
    return (x != 0).flatten(1).sum(1)
