"""What cannot be written is refused before anything is, and a broken write leaves nothing."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
import torch
from gguf_models import build

from secateur.core.errors import NumberError, PlanError, StorageError
from secateur.export.gguf import save_gguf


@pytest.fixture(scope="module")
def model():
    return build("llama")


def test_an_unknown_kind_names_the_nearest(tmp_path, tokenizer, model):
    with pytest.raises(PlanError, match="did you mean 'q4_0'"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, kind="q4_k")


def test_an_unknown_family_is_refused(tmp_path, tokenizer, model):
    from transformers import BertConfig

    with pytest.raises(PlanError, match="unknown model type for GGUF 'bert'"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer, config=BertConfig())


def test_a_state_dict_needs_a_configuration(tmp_path, tokenizer, model):
    with pytest.raises(PlanError, match="config="):
        save_gguf(model.state_dict(), tmp_path / "m.gguf", tokenizer=tokenizer)


def test_a_file_is_replaced_only_when_asked(tmp_path, tokenizer, model):
    path = tmp_path / "m.gguf"
    path.write_text("mine")
    with pytest.raises(StorageError, match="exists"):
        save_gguf(model, path, tokenizer=tokenizer)
    assert path.read_text() == "mine"
    assert save_gguf(model, path, tokenizer=tokenizer, overwrite=True).bytes == path.stat().st_size


def test_missing_folders_are_refused(tmp_path, tokenizer, model):
    with pytest.raises(StorageError, match="does not exist"):
        save_gguf(model, tmp_path / "no" / "m.gguf", tokenizer=tokenizer)
    with pytest.raises(StorageError, match=r"no \*\.safetensors"):
        save_gguf(tmp_path, tmp_path / "m.gguf", tokenizer=tokenizer, config=model.config)


def test_a_full_disk_is_found_before_writing(tmp_path, tokenizer, model, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(StorageError, match="1,000 left"):
        save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_leaves_the_old_file(tmp_path, tokenizer, model):
    path = tmp_path / "m.gguf"
    save_gguf(model, path, tokenizer=tokenizer)
    before = path.read_bytes()
    state = dict(model.state_dict())
    state["model.layers.2.mlp.up_proj.weight"] = torch.full((96, 64), torch.nan)
    with pytest.raises(NumberError, match=r"blk\.2\.ffn_up\.weight"):
        save_gguf(state, path, tokenizer=tokenizer, config=model.config, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("gone", "match"),
    [
        ("model.embed_tokens.weight", "model.embed_tokens.weight"),
        ("lm_head.weight", r"lack output\.weight"),
        ("model.norm.weight", r"lack output_norm\.weight"),
    ],
)
def test_missing_tensors_are_named(tmp_path, tokenizer, model, gone, match):
    state = {name: t for name, t in model.state_dict().items() if name != gone}
    with pytest.raises((PlanError, StorageError), match=match):
        save_gguf(state, tmp_path / "m.gguf", tokenizer=tokenizer, config=model.config)


def test_tensors_without_a_place_are_named(tmp_path, tokenizer, model):
    state = model.state_dict() | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(1)}
    with pytest.raises(PlanError, match=r"lora_A.*merge"):
        save_gguf(state, tmp_path / "m.gguf", tokenizer=tokenizer, config=model.config)
