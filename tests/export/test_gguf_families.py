"""Every family through transformers' reader: the logits of the file are those of the model."""

from __future__ import annotations

import gguf
import pytest
import torch
from gguf_models import TEXT, build
from safetensors.torch import save_file

from secateur.export.gguf import logit_gap, save_gguf

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2")


@pytest.mark.parametrize("family", FAMILIES)
def test_f32_gives_the_logits_of_the_source(tmp_path, tokenizer, family):
    model = build(family)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert file.bytes == (tmp_path / "m.gguf").stat().st_size
    assert not file.notes
    assert logit_gap(file.path, model, ids(tokenizer)) < 1e-5


@pytest.mark.parametrize(("kind", "bound"), [("f16", 0.05), ("q8_0", 0.5), ("q4_0", 5.0)])
def test_smaller_kinds_come_close(tmp_path, tokenizer, kind, bound):
    model = build("llama")
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, kind=kind)
    gap = logit_gap(file.path, model, ids(tokenizer))
    assert 0 < gap < bound
    assert file.kept_f16 == ()


def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(TEXT).input_ids])


def types(path) -> dict[str, str]:
    return {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}


def test_what_each_tensor_of_a_q4_file_is_stored_in(tmp_path, tokenizer):
    model = build("llama", intermediate_size=100)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, kind="q4_0")
    found = types(file.path)
    assert found["token_embd.weight"] == found["output.weight"] == "Q8_0"
    assert found["blk.0.attn_q.weight"] == found["blk.2.ffn_up.weight"] == "Q4_0"
    assert found["blk.1.ffn_down.weight"] == "F16"
    assert found["output_norm.weight"] == found["blk.0.attn_norm.weight"] == "F32"
    assert file.kept_f16 == tuple(f"blk.{n}.ffn_down.weight" for n in range(3))


def test_a_folder_and_a_state_dict_give_the_file_of_the_model(tmp_path, tokenizer):
    model = build("qwen2")
    (tmp_path / "source").mkdir()
    state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, tmp_path / "source" / "model.safetensors")
    sources = [model, model.state_dict(), tmp_path / "source"]
    for n, source in enumerate(sources):
        save_gguf(source, tmp_path / f"{n}.gguf", tokenizer=tokenizer, config=model.config)
    first = (tmp_path / "0.gguf").read_bytes()
    assert first == (tmp_path / "1.gguf").read_bytes()
    assert sorted(types(tmp_path / "2.gguf")) == sorted(types(tmp_path / "0.gguf"))
    assert logit_gap(tmp_path / "2.gguf", model, ids(tokenizer)) < 1e-5


def test_half_precision_sources_are_stored_exactly_in_f32(tmp_path, tokenizer):
    model = build("llama")
    half = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    model.load_state_dict(half)  # rounded to bfloat16, held in float32
    file = save_gguf(half, tmp_path / "m.gguf", tokenizer=tokenizer, config=model.config)
    assert logit_gap(file.path, model, ids(tokenizer)) < 1e-5


def test_narrower_heads_and_neurons_alike_in_all_layers_stay_llama(tmp_path, tokenizer):
    from cut import keep_groups, keep_neurons

    model = build("llama")
    for layer in model.model.layers:
        keep_groups(layer.self_attn, [1], head=16)
        keep_neurons(layer.mlp, 33)
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert file.arch == "llama"
    assert logit_gap(file.path, model, ids(tokenizer)) < 1e-5


def test_a_layer_that_lost_both_parts_is_left_out(tmp_path, tokenizer):
    from cut import NoAttention, NoFfn

    model = build("llama")
    model.model.layers[1].self_attn, model.model.layers[1].mlp = NoAttention(), NoFfn()
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert (file.arch, file.layers) == ("llama", 2)
    assert file.notes == ("1 layers without attention and FFN are left out",)
    assert logit_gap(file.path, model, ids(tokenizer)) < 1e-5


def test_a_gemma_that_lost_a_layer_keeps_each_layers_window(tmp_path, tokenizer):
    from cut import NoAttention, NoFfn

    model = build("gemma3")  # layers 0 … 4 slide, 5 sees all, 6 slides
    model.model.layers[2].self_attn, model.model.layers[2].mlp = NoAttention(), NoFfn()
    file = save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    field = gguf.GGUFReader(file.path).fields["gemma3.attention.sliding_window_pattern"]
    assert list(field.contents()) == [True, True, True, True, False, True]
    whole = save_gguf(build("gemma3"), tmp_path / "w.gguf", tokenizer=tokenizer)
    assert gguf.GGUFReader(whole.path).fields[
        "gemma3.attention.sliding_window_pattern"
    ].contents() == 6  # fmt: skip


def test_the_context_ends_with_a_window_that_llama_cpp_does_not_apply(tmp_path, tokenizer):
    model = build("mistral", sliding_window=40)
    save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    context = gguf.GGUFReader(tmp_path / "m.gguf").fields["llama.context_length"].contents()
    assert context == 40
