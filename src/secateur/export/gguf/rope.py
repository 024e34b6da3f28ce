"""Rotary position embedding in GGUF: base, scaling, and the factor tensors some scalings need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from secateur.core.errors import unknown

if TYPE_CHECKING:
    from gguf import GGUFWriter

SCALINGS = ("default", "linear", "llama3", "yarn", "longrope")


def global_rope(config: Any) -> dict[str, Any]:
    """The rotary settings of full-attention layers; empty for a model without any."""
    rope = getattr(config, "rope_parameters", None) or {}
    found: dict[str, Any] = rope.get("full_attention", rope)
    return found


def local_rope(config: Any) -> dict[str, Any]:
    """The rotary settings of sliding-window layers; empty where they are those of all layers."""
    rope = getattr(config, "rope_parameters", None) or {}
    found: dict[str, Any] = rope.get("sliding_attention", {})
    return found


def add_rope(writer: GGUFWriter, config: Any, head_dim: int) -> None:
    """Write base, rotated width and scaling."""
    rope = global_rope(config)
    if not rope:
        return
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    local = local_rope(config)
    if local:
        writer.add_rope_freq_base_swa(float(local["rope_theta"]))
    _add_scaling(writer, config, rope)


def _add_scaling(writer: GGUFWriter, config: Any, rope: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    kind = rope.get("rope_type", "default")
    if kind not in SCALINGS:
        raise unknown("rotary scaling for GGUF", kind, SCALINGS)
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))
    if kind == "longrope":
        writer.add_rope_scaling_type(RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(_original(config, rope))
        writer.add_rope_scaling_attn_factors(_longrope_gain(config, rope))


def _original(config: Any, rope: dict[str, Any]) -> int:
    stated = rope.get("original_max_position_embeddings")
    return int(stated or config.original_max_position_embeddings)


def _longrope_gain(config: Any, rope: dict[str, Any]) -> float:
    """√(1 + ln s / ln L) with s the stretch of the context over its original length L; 1 for s ≤ 1."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    original = _original(config, rope)
    stretch = config.max_position_embeddings / original
    return math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0


def factor_tensors(config: Any, head_dim: int) -> dict[str, torch.Tensor]:
    """Divisors of the rotary frequencies, by tensor name, for the scalings given as such."""
    rope = global_rope(config)
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        return {"rope_freqs.weight": llama3_factors(rope, head_dim)}
    if kind == "longrope":
        return {
            "rope_factors_long.weight": torch.tensor(rope["long_factor"], dtype=torch.float32),
            "rope_factors_short.weight": torch.tensor(rope["short_factor"], dtype=torch.float32),
        }
    return {}


def llama3_factors(rope: dict[str, Any], head_dim: int) -> torch.Tensor:
    """Divisors [head_dim / 2] of Llama 3.1's frequencies θ^(−2i/d).

    With wavelength λ = 2π θ^(2i/d) and original context L: 1 where λ < L / high_freq_factor,
    `factor` where λ > L / low_freq_factor, and in between 1 / ((1 − s) / factor + s) with s = (L /
    λ − low) / (high − low).
    """
    steps = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    wavelength = 2 * math.pi * float(rope["rope_theta"]) ** steps
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    periods = float(rope["original_max_position_embeddings"]) / wavelength
    smooth = ((periods - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - smooth) / float(rope["factor"]) + smooth)).float()
