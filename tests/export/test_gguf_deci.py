"""Layers of different width: the file's own graph, run from the file alone, gives the model's logits."""

from __future__ import annotations

import pytest
import torch
from cut import EDITS, uneven, with_compensation
from deci_reader import DeciReader
from gguf_models import TEXT, build

from secateur.core.errors import PlanError
from secateur.export.gguf import save_gguf


def pruned(family: str, edit, **changes):
    model = build(family, num_hidden_layers=4, use_cache=False, **changes)
    edit(model.model.layers)
    return model


def check(model, path, tokenizer) -> DeciReader:
    ids = tokenizer(TEXT).input_ids
    reader = DeciReader(path)
    with torch.no_grad():
        wanted = model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(reader.logits(ids), wanted, atol=1e-4, rtol=1e-4)
    return reader


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_llama_with_uneven_layers(tmp_path, tokenizer, edit):
    model = pruned("llama", edit)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert file.arch == "deci"
    check(model, file.path, tokenizer)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "phi3"])
def test_other_families_become_deci(tmp_path, tokenizer, family):
    model = pruned(family, uneven)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    reader = check(model, file.path, tokenizer)
    assert file.arch == "deci"
    assert reader.heads == [2, 4, 4, 2]
    assert reader.kv_heads == [1, 2, 2, 1]
    assert reader.ffn == [96, 40, 7, 96]


def test_biases_of_every_projection_are_kept(tmp_path, tokenizer):
    model = pruned("llama", uneven, attention_bias=True, mlp_bias=True)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    check(model, file.path, tokenizer)


def test_heads_cut_alike_from_a_qwen2_need_deci(tmp_path, tokenizer):
    from cut import keep_groups

    model = pruned("qwen2", lambda layers: [keep_groups(x.self_attn, [1], 16) for x in layers])
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert file.arch == "deci"
    check(model, file.path, tokenizer)


def test_a_compensated_qwen2_needs_deci(tmp_path, tokenizer):
    model = pruned("qwen2", with_compensation)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert file.arch == "deci"
    check(model, file.path, tokenizer)


def test_zeros_stand_for_what_llama_cpp_cannot_do_without(tmp_path, tokenizer):
    from cut import both, without_attention, without_ffn

    model = pruned("llama", both(without_attention(0), without_ffn(2)))
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    reader = check(model, file.path, tokenizer)
    assert reader.heads == [1, 4, 4, 4]
    assert reader.ffn == [96, 96, 32, 96]
    assert file.notes == (
        "layer 0 has no attention: one head of zeros is written",
        "layer 2 has no FFN: 32 neurons of zeros are written",
    )


@torch.no_grad()
def test_quantised_deci_comes_close(tmp_path, tokenizer):
    model = pruned("llama", uneven)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, kind="q8_0")
    ids = tokenizer(TEXT).input_ids
    wanted = model(torch.tensor([ids])).logits[0]
    assert (DeciReader(file.path).logits(ids) - wanted).norm() < 0.1 * wanted.norm()
    assert file.kept_f16 == ("blk.1.ffn_down.weight", "blk.2.ffn_down.weight")


def narrower_ffn(layers) -> None:
    from cut import keep_neurons

    keep_neurons(layers[1].mlp, 50)


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gemma3"])
def test_families_that_cannot_be_uneven_say_so(tmp_path, tokenizer, family):
    model = pruned(family, narrower_ffn)
    with pytest.raises(PlanError, match=r"not for qwen3, gemma2, gemma3_text, gpt2.*same width"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_an_uneven_gpt2_is_refused(tmp_path, tokenizer):
    model = build("gpt2")
    ffn = model.transformer.h[1].mlp
    ffn.c_fc.weight.data = ffn.c_fc.weight.data[:, :100]
    ffn.c_fc.bias.data = ffn.c_fc.bias.data[:100]
    ffn.c_proj.weight.data = ffn.c_proj.weight.data[:100]
    with pytest.raises(PlanError, match="gpt2: its widths"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)


def test_a_gate_that_is_not_silu_is_refused(tmp_path, tokenizer):
    model = pruned("llama", uneven, hidden_act="gelu")
    with pytest.raises(PlanError, match="runs SiLU, not gelu"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("rows", "match"),
    [(40, "no multiple of the head width 16"), (48, "3 query heads cannot share 2")],
)
def test_parts_of_heads_and_groups_are_refused(tmp_path, tokenizer, rows, match):
    model = pruned("llama", lambda layers: None)
    attention = model.model.layers[2].self_attn
    attention.q_proj.weight.data = attention.q_proj.weight.data[:rows]
    with pytest.raises(PlanError, match=f"layer 2: .*{match}"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
