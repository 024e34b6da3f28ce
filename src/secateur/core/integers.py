"""Weights as whole multiples of one step for each output channel, by torchao's own arithmetic."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from .extras import need

Bits = Literal[4, 8]


def largest(bits: int) -> int:
    """The largest whole number, and minus the least: 2^(bits - 1) - 1.

    One less than what the bits could hold below zero, so that a row's largest weight is on the grid and
    taking its steps again gives the same ones.

    >>> largest(8), largest(4)
    (127, 7)
    """
    return 2 ** (bits - 1) - 1


def steps(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """([out, 1, ...] s = max |w| / largest of each output channel, [out, 1, ...] int8 zeros)."""
    if weight.shape[1:].numel() == 1:
        # torchao takes a column for one step for all; a zero beside it changes no maximum
        scale, zero = steps(nn.functional.pad(weight.flatten(1), (0, 1)), bits)
        return scale.view_as(weight), zero.view_as(weight)
    primitives = _primitives()
    most = largest(bits)
    return primitives.choose_qparams_affine(
        weight, primitives.MappingType.SYMMETRIC, _row(weight), torch.int8, -most, most,
        eps=torch.finfo(torch.float32).eps, scale_dtype=torch.float32, zero_point_dtype=torch.int8,
        keepdim=True,
    )  # fmt: skip


def rounded(weight: Tensor, bits: int) -> Tensor:
    """s · round(w / s), half to even; zero stays zero."""
    scale, zero = steps(weight, bits)
    most = largest(bits)
    return _primitives()._fake_quantize_affine(
        weight, _row(weight), scale, zero, torch.int8, -most, most
    )


def _row(weight: Tensor) -> tuple[int, ...]:
    return (1, *weight.shape[1:])


def _primitives() -> Any:
    return need("torchao.quantization.quant_primitives", "weights as integers")
