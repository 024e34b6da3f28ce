"""Encoder-decoders go block by block too: the encoder's blocks, then the decoder's."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForCausalLM,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

import secateur as sc
from secateur.cli.language import summary
from secateur.core.errors import PlanError
from secateur.engine.blockwise.describe import card
from secateur.engine.blockwise.folder import prune_folder
from secateur.materialise import HardMasks
from secateur.structure import Weights

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


def alone():
    """The decoder of BART without its encoder: nothing ever calls its cross-attention."""
    torch.manual_seed(0)
    config = MODELS["bart"]().config
    config.is_decoder, config.is_encoder_decoder = True, False
    ids = torch.randint(3, 40, (2, 3, 10), generator=torch.Generator().manual_seed(1))
    return BartForCausalLM(config).eval(), [{"input_ids": each} for each in ids]


@pytest.mark.parametrize(
    ("method", "options"), [("wanda", {}), ("owl", {}), ("sparsegpt", {"refit": 1})]
)
def test_layers_that_no_sample_calls_stay_dense_and_are_told(method, options, tmp_path, caplog):
    model, batches = alone()
    model.save_pretrained(tmp_path / "source")
    recipe = sc.recipe(method, density=0.5, **options)
    done = prune_folder(tmp_path / "source", recipe, tmp_path / "out", batches=batches)
    rows = {row["target"]: row for row in done.record["layers"]}
    cross = {name for name in rows if "encoder_attn" in name}
    assert cross == {name for name, row in rows.items() if row.get("uncalled")}
    assert len(cross) == 8
    assert all((row["kept"] == row["units"]) == (name in cross) for name, row in rows.items())
    words = (
        "left dense, since no calibration sample runs through them as layers: model.decoder.layers"
    )
    assert words in "\n".join(summary(done.record))
    assert f"L{words[1:]}" in card(done.record)
    result = sc.prune(model, recipe, data=batches, example=batches[0])
    assert words in caplog.text
    assert all(bool(mask.all()) == (name in cross) for name, mask in result.masks.items())
    pruned, loaded = result.model, sc.load(tmp_path / "out")
    assert all(
        torch.equal(a, b) for a, b in zip(pruned.parameters(), loaded.parameters(), strict=True)
    )
    assert cross.isdisjoint(HardMasks.of(loaded).masks)


def test_layers_of_which_all_samples_are_padding_are_an_error(tmp_path):
    model, batches = alone()
    empty = [each | {"attention_mask": torch.zeros_like(each["input_ids"])} for each in batches]
    with pytest.raises(PlanError, match="all of its samples are padding"):
        sc.prune(model, "wanda", density=0.5, data=empty, example=empty[0])


def test_what_lies_outside_of_the_blocks_stays_dense_unless_it_is_named():
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, is_decoder=True,
    )  # fmt: skip
    model, head = BertLMHeadModel(config).eval(), "cls.predictions.transform.dense.weight"
    batches = alone()[1]
    plan = sc.plan(model, "wanda", density=0.5)
    assert head in plan.left_out
    assert f"left dense: {', '.join(plan.left_out)}" in str(plan)
    result = sc.prune(model, "wanda", density=0.5, data=batches, example=batches[0])
    assert result.masks.keys() == {t.name for t in plan.targets}
    assert head in {t.name for t in sc.plan(model, "magnitude", density=0.5).targets}
    named = sc.recipe("wanda", density=0.5).model_copy(
        update={"structure": Weights(include=(head,))}
    )
    with pytest.raises(PlanError, match=r"lies outside the repeated blocks.*with walk='whole'"):
        sc.prune(model, named, data=batches, example=batches[0])
