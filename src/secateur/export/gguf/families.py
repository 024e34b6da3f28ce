"""The model families that GGUF can hold, and what llama.cpp expects of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.core.errors import PlanError, unknown


@dataclass(frozen=True)
class Family:
    """How one family of Hugging Face decoders is laid out in GGUF.

    Args:
        arch: the architecture's name in GGUF.
        prefix: what stands before the layer number in parameter names.
        turns_pairs: llama.cpp rotates neighbouring pairs (2i, 2i+1) of a head, Hugging Face the
            pairs (i, i + d/2), so rows of the query and key projections change places.
        norm_offset: added to norm weights, which the family stores as w − 1.
        fused: query, key and value are one matrix, gate and up another.
        square: llama.cpp takes the width of all heads together to be the hidden size.
        window: llama.cpp applies the family's sliding window.
        uneven: its layers may differ in width, written as `deci`.
    """

    arch: str
    prefix: str = "model.layers."
    turns_pairs: bool = False
    norm_offset: float = 0.0
    fused: bool = False
    square: bool = False
    window: bool = False
    uneven: bool = False


FAMILIES = {
    "llama": Family("llama", turns_pairs=True, uneven=True),
    "mistral": Family("llama", turns_pairs=True, uneven=True),
    "qwen2": Family("qwen2", square=True, uneven=True),
    "qwen3": Family("qwen3"),
    "gemma2": Family("gemma2", norm_offset=1.0, window=True),
    "gemma3_text": Family("gemma3", norm_offset=1.0, window=True),
    "phi3": Family("phi3", fused=True, square=True, uneven=True),
    "gpt2": Family("gpt2", prefix="transformer.h.", square=True),
}

DECI = Family("deci", turns_pairs=True, uneven=True)
"""A Llama whose every layer states its own head count, key-value head count and FFN length."""


def family_of(config: Any) -> Family:
    """The family of a Hugging Face configuration, by its `model_type`."""
    model_type = str(getattr(config, "model_type", None))
    if model_type == "gemma3":
        raise PlanError(
            "GGUF export takes the text part of Gemma 3 (model_type 'gemma3_text'), not the "
            "multimodal model; pass model.language_model with its own configuration"
        )
    if model_type not in FAMILIES:
        raise unknown("model type for GGUF", model_type, FAMILIES)
    return FAMILIES[model_type]


def refuse_uneven(config: Any, why: str) -> PlanError:
    """Why this model's widths have no place in GGUF, and what to do."""
    holding = ", ".join(name for name, family in FAMILIES.items() if family.uneven)
    lacking = ", ".join(name for name, family in FAMILIES.items() if not family.uneven)
    return PlanError(
        f"{config.model_type}: {why}. GGUF holds widths that differ from layer to layer for "
        f"{holding} (as architecture 'deci'), not for {lacking}: ask for equal_widths (zeros up to "
        f"the widest layer, which computes the same), prune every layer to the same width, or save "
        f"as a Secateur artifact, .pt2 or ONNX"
    )
