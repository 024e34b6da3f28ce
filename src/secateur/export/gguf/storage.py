"""How the numbers of a tensor are stored: f32, f16, Q8_0 or Q4_0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from secateur.core.errors import NumberError, unknown

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

KINDS = ("f32", "f16", "q8_0", "q4_0")
BLOCK = 32
"""Numbers that share a scale in Q8_0 and Q4_0."""


def check_kind(kind: str) -> None:
    """Refuse a kind that is not one of `KINDS`."""
    if kind not in KINDS:
        raise unknown("GGUF kind", kind, KINDS)


def stored_kind(name: str, shape: tuple[int, ...], kind: str) -> str:
    """The kind one tensor is stored in.

    Vectors, norms and positions stay f32; rows that are no multiple of 32 stay f16 in a quantised
    file; embedding and output are Q8_0 in a Q4_0 file, where they cost little and matter most.

    >>> stored_kind("blk.0.ffn_down.weight", (64, 172), "q8_0")
    'f16'
    """
    if len(shape) < 2 or "norm" in name or name.startswith("position_embd"):
        return "f32"
    if kind in ("f32", "f16"):
        return kind
    if shape[-1] % BLOCK:
        return "f16"
    edge = name.startswith(("token_embd.", "output."))
    return "q8_0" if edge else kind


def stored_bytes(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor: 4 or 2 a number, or 34 (Q8_0) or 18 (Q4_0) for each 32.

    >>> stored_bytes((2, 64), "q4_0")
    72
    """
    count = torch.Size(shape).numel()
    if kind in ("f32", "f16"):
        return count * (4 if kind == "f32" else 2)
    return count // BLOCK * (34 if kind == "q8_0" else 18)


def ggml_type(kind: str) -> GGMLQuantizationType:
    """The `gguf` package's name of a kind."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind.upper()]


def stored(tensor: torch.Tensor, name: str, kind: str) -> np.ndarray:
    """The bytes of `tensor` as an array; refuses numbers that are, or would become, infinite."""
    from gguf.quants import quantize

    values = tensor.detach().to("cpu", torch.float32).contiguous()
    limit = torch.finfo(torch.float16 if kind != "f32" else torch.float32).max
    if not bool((values.abs() <= limit).all()):  # false for NaN too
        raise NumberError(
            f"'{name}' holds NaN or values beyond ±{limit:.4g}, which {kind} cannot store; "
            f"look at the layer or export f32"
        )
    return np.ascontiguousarray(quantize(values.numpy(), ggml_type(kind)))
