"""The tensors of the file: source names to GGUF names, and the layout that llama.cpp expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from secateur.core.errors import PlanError
from secateur.export.gguf.layers import Layer, Plan
from secateur.export.gguf.weights import Weights

# Buffers that hold no learnt number: causal masks of GPT-2 and rotary frequencies.
_NOT_WEIGHTS = ("attn.bias", "attn.masked_bias", "self_attn.rotary_emb.inv_freq")


@dataclass(frozen=True)
class Piece:
    """One tensor of the file: its GGUF name, its shape, and how to make it."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], torch.Tensor]


def pieces(weights: Weights, config: Any, plan: Plan) -> Iterator[Piece]:
    """Every tensor of the file in order."""
    import gguf

    arch = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[plan.target.arch]
    table = gguf.get_tensor_name_map(arch, len(plan.layers))
    for piece in _renumbered(weights, config, plan):
        found = table.get_name(piece.name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise PlanError(
                f"'{piece.name}' has no place in a GGUF file of architecture '{plan.target.arch}'; "
                f"remove or merge it first (adapters: merge them into the weights)"
            )
        yield _laid_out(Piece(found, piece.shape, piece.load), plan)


def _renumbered(weights: Weights, config: Any, plan: Plan) -> Iterator[Piece]:
    """Pieces under Hugging Face names, layers numbered as they will be written."""
    prefix = plan.family.prefix
    for name in weights.shapes:
        if name.startswith(prefix) or _is_copy(name, config):
            continue
        yield _of(weights, name, name)
    for number, layer in enumerate(plan.layers):
        at = f"{prefix}{layer.source}."
        for name in [name for name in weights.shapes if name.startswith(at)]:
            leaf = name.removeprefix(at)
            if leaf not in _NOT_WEIGHTS and not _orphan(leaf, weights, at, plan):
                yield from _split_fused(_of(weights, name, f"{prefix}{number}.{leaf}"), layer, plan)
        if plan.target.arch == "deci":
            yield from _zeros(weights, plan, number)


def _of(weights: Weights, name: str, new: str) -> Piece:
    return Piece(new, weights.shapes[name], lambda: weights.load(name))


def _is_copy(name: str, config: Any) -> bool:
    return name == "lm_head.weight" and bool(config.tie_word_embeddings)


def _orphan(leaf: str, weights: Weights, at: str, plan: Plan) -> bool:
    """The norm before a removed sub-layer: llama.cpp refuses a tensor that it does not use."""
    if plan.target.arch != "deci":
        return False
    if leaf.startswith("input_layernorm"):
        return not _has_attention(weights, at)
    return leaf.startswith("post_attention_layernorm") and not _has_ffn(weights, at)


def _has_attention(weights: Weights, at: str) -> bool:
    return (
        f"{at}self_attn.o_proj.weight" in weights
        and _size(weights, f"{at}self_attn.o_proj.weight") > 0
    )


def _has_ffn(weights: Weights, at: str) -> bool:
    return (
        f"{at}mlp.down_proj.weight" in weights and _size(weights, f"{at}mlp.down_proj.weight") > 0
    )


def _size(weights: Weights, name: str) -> int:
    return torch.Size(weights.shapes[name]).numel()


def _split_fused(piece: Piece, layer: Layer, plan: Plan) -> Iterator[Piece]:
    """`qkv_proj` and `gate_up_proj` in parts where the layout wants them apart."""
    if 0 in piece.shape:
        return
    query, key = layer.heads * plan.head_dim, layer.kv_heads * plan.head_dim
    parts = {
        "qkv_proj": (("q_proj", query), ("k_proj", key), ("v_proj", key)),
        "gate_up_proj": (("gate_proj", layer.ffn), ("up_proj", layer.ffn)),
    }
    whole = piece.name.split(".")[-2]
    if whole not in parts or plan.target.fused:
        yield piece
        return
    begin = 0
    for name, rows in parts[whole]:
        yield _rows(piece, piece.name.replace(whole, name), begin, rows)
        begin += rows


def _rows(piece: Piece, name: str, begin: int, rows: int) -> Piece:
    shape = (rows, *piece.shape[1:])
    return Piece(name, shape, lambda: piece.load()[begin : begin + rows])


def _zeros(weights: Weights, plan: Plan, number: int) -> Iterator[Piece]:
    """Sub-layers the plan names and the source lacks, written as zeros that add nothing."""
    layer, hidden = plan.layers[number], plan.hidden
    source, at = f"{plan.family.prefix}{layer.source}.", f"{plan.family.prefix}{number}."
    if layer.heads and not _has_attention(weights, source):
        width = layer.heads * plan.head_dim
        yield _constant(f"{at}input_layernorm.weight", (hidden,), 1.0)
        for name in ("q_proj", "k_proj", "v_proj"):
            yield _constant(f"{at}self_attn.{name}.weight", (width, hidden), 0.0)
        yield _constant(f"{at}self_attn.o_proj.weight", (hidden, width), 0.0)
    if layer.ffn and not _has_ffn(weights, source):
        yield _constant(f"{at}post_attention_layernorm.weight", (hidden,), 1.0)
        for name in ("gate_proj", "up_proj"):
            yield _constant(f"{at}mlp.{name}.weight", (layer.ffn, hidden), 0.0)
        yield _constant(f"{at}mlp.down_proj.weight", (hidden, layer.ffn), 0.0)


def _constant(name: str, shape: tuple[int, ...], value: float) -> Piece:
    return Piece(name, shape, lambda: torch.full(shape, value))


def _laid_out(piece: Piece, plan: Plan) -> Piece:
    """Rows of query and key in llama.cpp's order, norms with their offset, GPT-2's [in, out] turned."""
    if plan.target.turns_pairs and (".attn_q." in piece.name or ".attn_k." in piece.name):
        return Piece(piece.name, piece.shape, lambda: turn_pairs(piece.load(), plan.head_dim))
    if plan.target.norm_offset and piece.name.endswith("norm.weight"):
        return Piece(
            piece.name, piece.shape, lambda: piece.load().float() + plan.target.norm_offset
        )
    if plan.target.arch == "gpt2" and _stored_in_out(piece.name):
        return Piece(piece.name, piece.shape[::-1], lambda: piece.load().t())
    return piece


def _stored_in_out(name: str) -> bool:
    leaf = name.split(".")[-2:]
    return leaf[-1] == "weight" and leaf[0] in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")


def turn_pairs(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows (i, i + d/2) of each head become neighbours (2i, 2i + 1); [heads · d, …].

    >>> turn_pairs(torch.tensor([0, 1, 2, 3]), head_dim=4).tolist()
    [0, 2, 1, 3]
    """
    halves = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:])  # [heads, 2, d/2, …]
    return halves.transpose(1, 2).reshape(rows.shape)
