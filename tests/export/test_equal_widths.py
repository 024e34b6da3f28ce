"""Uneven layers in layouts with one width for all: zeros that change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cut import keep_groups, keep_neurons, without_ffn
from gguf_models import build

from secateur.core.errors import PlanError
from secateur.export.gguf import logit_gap, save_gguf

IDS = torch.arange(2, 14).reshape(2, 6)


def gpt2_neurons(block: Any, count: int) -> None:
    block.mlp.c_fc.weight.data = block.mlp.c_fc.weight.data[:, :count].clone()
    block.mlp.c_fc.bias.data = block.mlp.c_fc.bias.data[:count].clone()
    block.mlp.c_fc.nf = count
    block.mlp.c_proj.weight.data = block.mlp.c_proj.weight.data[:count].clone()


def gpt2_heads(block: Any, heads: list[int], width: int = 16) -> None:
    rows = torch.cat([torch.arange(h * width, (h + 1) * width) for h in heads])
    fused = torch.cat([rows + n * 64 for n in range(3)])
    attention = block.attn
    attention.c_attn.weight.data = attention.c_attn.weight.data[:, fused].clone()
    attention.c_attn.bias.data = attention.c_attn.bias.data[fused].clone()
    attention.c_attn.nf = len(fused)
    attention.c_proj.weight.data = attention.c_proj.weight.data[rows].clone()
    attention.split_size, attention.num_heads = len(rows), len(heads)


def uneven(family: str) -> Any:
    """A model of the family whose layers differ in neurons and heads."""
    model = build(family, use_cache=False)
    if family == "gpt2":
        gpt2_neurons(model.transformer.h[0], 40)
        gpt2_heads(model.transformer.h[1], [0, 2, 3])
        return model
    layers, head = model.model.layers, model.config.head_dim
    keep_neurons(layers[0].mlp, 40)
    keep_groups(layers[1].self_attn, [1], head)
    return model


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "qwen3", "gpt2"])
def test_families_with_one_width_for_all(tmp_path: Path, tokenizer: Any, family: str) -> None:
    model = uneven(family)
    with pytest.raises(PlanError, match=rf"not for .*{family[:5]}.*ask for equal_widths"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    made = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, equal_widths=True)
    assert made.arch == family
    assert any("layer 0: " in n and "neurons of zeros" in n for n in made.notes)
    assert any("layer 1: " in n and "heads of zeros" in n for n in made.notes)
    assert logit_gap(made.path, model, IDS) < 1e-4


def test_equal_layers_are_left_as_they_are(tmp_path: Path, tokenizer: Any) -> None:
    model = build("qwen3")
    plain = save_gguf(model, tmp_path / "a.gguf", tokenizer=tokenizer)
    asked = save_gguf(model, tmp_path / "b.gguf", tokenizer=tokenizer, equal_widths=True)
    assert asked.notes == ()
    assert plain.path.read_bytes() == asked.path.read_bytes()


def test_a_llama_may_be_made_equal_too(tmp_path: Path, tokenizer: Any) -> None:
    model = build("llama", use_cache=False)
    keep_neurons(model.model.layers[0].mlp, 40)
    made = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, equal_widths=True)
    assert made.arch == "llama"
    assert logit_gap(made.path, model, IDS) < 1e-4


def test_what_zeros_cannot_mend(tmp_path: Path, tokenizer: Any) -> None:
    model = build("gemma3", use_cache=False)
    without_ffn(1)(model.model.layers)
    with pytest.raises(PlanError, match="nothing to widen; drop whole layers"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, equal_widths=True)
    with pytest.raises(PlanError, match="holds uneven widths as they are"):
        save_gguf(build("phi3"), tmp_path / "m.gguf", tokenizer=tokenizer, equal_widths=True)
    assert list(tmp_path.iterdir()) == []
