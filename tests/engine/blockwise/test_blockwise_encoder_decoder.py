"""Encoder-decoders go block by block too: the encoder's blocks, then the decoder's."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.blockwise.folder import prune_folder

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
MODELS = {
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(
            vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0,
        )
    ),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(
            vocab_size=40, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            max_position_embeddings=32, **IDS,
        )
    ),
}  # fmt: skip


def made(family):
    torch.manual_seed(0)
    model = MODELS[family]().eval()
    mask = torch.ones(3, 10, dtype=torch.long)
    mask[0, 6:] = 0
    ids = [torch.randint(3, 40, (3, n)) for n in (10, 7, 10, 7)]
    batches = [
        {"input_ids": source * mask, "attention_mask": mask, "decoder_input_ids": target}
        for source, target in (ids[:2], ids[2:])
    ]
    return model, batches


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_from_disk_as_in_memory(family, method, tmp_path):
    model, batches = made(family)
    model.save_pretrained(tmp_path / "source", max_shard_size="9KB")
    recipe = sc.recipe(method, density=0.5)
    done = prune_folder(tmp_path / "source", recipe, tmp_path / "out", batches=batches)
    order = list(dict.fromkeys(row["block"] for row in done.record["layers"]))
    assert [name.split(".")[-3] for name in order] == ["encoder"] * 2 + ["decoder"] * 2
    pruned = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    whole = sc.prune(model, recipe, data=batches, example=batches[0]).model
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, pruned.get_parameter(name)), name
    with torch.no_grad():
        wanted = pruned(**batches[0]).logits
        assert torch.equal(wanted, sc.load(tmp_path / "out")(**batches[0]).logits)


def test_texts_alone_are_refused_with_the_way_out(tmp_path):
    made("t5")[0].save_pretrained(tmp_path / "source")
    for method, given in (("wanda", ["text"]), ("flap", ["text"]), ("flap", None)):
        with pytest.raises(PlanError, match="what its decoder is to say; prune it with"):
            sc.prune_folder(tmp_path / "source", method, tmp_path / "out", data=given)
    options = {"density": 0.5, "walk": "blocks"}
    sc.prune_folder(tmp_path / "source", "magnitude-layerwise", tmp_path / "out", **options)
    assert sc.load(tmp_path / "out").config.is_encoder_decoder
