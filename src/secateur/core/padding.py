"""Which samples and tokens of a batch are real: the rest is padding and tells nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .errors import DataError


def valid_only(x: Tensor, valid: Tensor | None, param: str) -> Tensor:
    """The samples or tokens that count; a layer that sees whole samples keeps them all."""
    if valid is None:
        return x
    if x.shape[: valid.dim()] == valid.shape:
        return x[valid.to(x.device)]
    if x.dim() == 2 and x.shape[0] == valid.numel():
        return x[valid.flatten().to(x.device)]
    if x.shape[0] == valid.shape[0]:  # one row a sample, as in a pooler
        return x
    raise DataError(
        f"what flows through the layer of '{param}' has shape {tuple(x.shape)}, the padding mask "
        f"{tuple(valid.shape)}: which rows are padding cannot be told; use batches without padding"
    )


def valid_of(batch: Any) -> Tensor | None:
    """Which tokens of a batch are no padding: its attention mask, where it has one."""
    inner = batch[0] if isinstance(batch, tuple | list) and batch else batch
    mask = inner.get("attention_mask") if isinstance(inner, Mapping) else None
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
