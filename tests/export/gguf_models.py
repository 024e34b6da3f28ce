"""Tiny models of every family GGUF holds, and a byte-level tokenizer."""

from __future__ import annotations

import torch

TEXT = "Hello 25 world"
_SIZES = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}


def configuration(family: str, **changes):
    """A tiny configuration; sizes that transformers' GGUF reader cannot read keep its defaults."""
    import transformers as hf

    gemma = {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4}
    made = {
        "llama": (hf.LlamaConfig, {"tie_word_embeddings": False}),
        "mistral": (hf.MistralConfig, {"sliding_window": None, "head_dim": 16}),
        "qwen2": (hf.Qwen2Config, {"tie_word_embeddings": True}),
        "qwen3": (hf.Qwen3Config, {"head_dim": 128}),
        "gemma2": (hf.Gemma2Config, gemma),
        "gemma3": (hf.Gemma3TextConfig, gemma | {"num_hidden_layers": 7}),
        "phi3": (hf.Phi3Config, {"pad_token_id": 1}),
        "gpt2": (
            hf.GPT2Config,
            {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 1024},
        ),
    }
    kind, own = made[family]
    sizes = {} if family == "gpt2" else _SIZES
    common = {
        k: _SIZES[k] for k in ("vocab_size", "initializer_range", "bos_token_id", "eos_token_id")
    }
    return kind(**{**common, **sizes, **own, **changes})


def build(family: str, **changes):
    """A random model whose norms and biases are not the neutral values they begin with."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(configuration(family, **changes)).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def byte_level(split: str | None = None):
    """A byte-level tokenizer with a few merges; `split` is the expression that cuts text first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("l", "o"), ("h", "e"), ("r", "l"), ("Ġ", "w"), ("Ġw", "o")]
    names = ["<s>", "</s>", *letters, *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=merges))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    steps = [] if split is None else [pre_tokenizers.Split(Regex(split), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, plain]) if steps else plain
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
