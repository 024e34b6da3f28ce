"""Language models of `transformers`, at tiny size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Example = tuple[tuple[Any, ...], dict[str, Any]]
VOCAB = 96
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0}
ONE: dict[str, Any] = {**SMALL, "num_hidden_layers": 1}
GROUPED_ONE: dict[str, Any] = {**GROUPED, "num_hidden_layers": 1}
"""For networks that differ from `gpt2`, `llama` or `bert`, which have two layers, inside a layer only."""

# name -> (config class, model class, settings)
DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCAB},
    ),
    "opt": ("OPTConfig", "OPTForCausalLM", {**ONE, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", ONE),
    "gpt_neo": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": VOCAB,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    "bloom": (
        "BloomConfig",
        "BloomForCausalLM",
        {"hidden_size": 32, "n_layer": 1, "n_head": 4, "vocab_size": VOCAB},
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**GROUPED_ONE, "sliding_window": 4}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GROUPED_ONE),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**GROUPED, "head_dim": 8}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "phi": ("PhiConfig", "PhiForCausalLM", ONE),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", GROUPED_ONE),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", GROUPED_ONE),
    "falcon": (
        "FalconConfig",
        "FalconForCausalLM",
        {**ONE, "num_kv_heads": 1, "multi_query": True, "new_decoder_architecture": False},
    ),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", GROUPED_ONE),
    "stablelm": ("StableLmConfig", "StableLmForCausalLM", GROUPED_ONE),
    "cohere": ("CohereConfig", "CohereForCausalLM", GROUPED_ONE),
    "granite": ("GraniteConfig", "GraniteForCausalLM", GROUPED_ONE),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**GROUPED, "num_local_experts": 4}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {
            **GROUPED_ONE,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
    ),
    "mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": VOCAB, "state_size": 4},
    ),
    "rwkv": (
        "RwkvConfig",
        "RwkvForCausalLM",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": VOCAB},
    ),
    "bert": ("BertConfig", "BertForSequenceClassification", SMALL),
    "roberta": ("RobertaConfig", "RobertaForSequenceClassification", {**ONE, "pad_token_id": 1}),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": VOCAB},
    ),
    "albert": ("AlbertConfig", "AlbertForSequenceClassification", {**SMALL, "embedding_size": 16}),
    "electra": (
        "ElectraConfig",
        "ElectraForSequenceClassification",
        {**ONE, "embedding_size": 16},
    ),
    "deberta": ("DebertaConfig", "DebertaForSequenceClassification", SMALL),
    "deberta_v2": ("DebertaV2Config", "DebertaV2ForSequenceClassification", SMALL),
    "mpnet": ("MPNetConfig", "MPNetForSequenceClassification", ONE),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertForSequenceClassification",
        {**SMALL, "pad_token_id": 0},
    ),
}
SEQ2SEQ: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": VOCAB,
        },
    ),
    "bart": (
        "BartConfig",
        "BartForConditionalGeneration",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "vocab_size": VOCAB,
            "max_position_embeddings": 32,
        },
    ),
}


def tokens(length: int = 8) -> torch.Tensor:
    """[2, length] token numbers, none of them special."""
    return torch.arange(2 * length).view(2, length) * 5 % (VOCAB - 8) + 4


def build(entry: tuple[str, str, dict[str, Any]]) -> nn.Module:
    """The model of one table entry, in evaluation mode."""
    import transformers

    config_name, model_name, settings = entry
    config = getattr(transformers, config_name)(**settings)
    model: nn.Module = getattr(transformers, model_name)(config)
    return model.eval()


def decoder(name: str) -> tuple[nn.Module, Example]:
    """A decoder or encoder with its example."""
    return build(DECODERS[name]), ((), {"input_ids": tokens()})


def seq2seq(name: str) -> tuple[nn.Module, Example]:
    """An encoder-decoder with its example."""
    return build(SEQ2SEQ[name]), ((), {"input_ids": tokens(), "decoder_input_ids": tokens(6)})
