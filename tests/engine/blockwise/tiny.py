"""Small random language models of many families, saved as folders."""

from pathlib import Path

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

COMMON = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64, "head_dim": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "n_positions": 64}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
FAMILIES = {
    "llama": COMMON,
    "mistral": COMMON | {"sliding_window": 4},
    "qwen2": COMMON,
    "qwen3": COMMON,
    "gemma2": COMMON | {"sliding_window": 4},
    "gemma3_text": COMMON
    | {
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "phi3": COMMON,
    "gpt2": GPT | IDS,
    "opt": COMMON | {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "falcon": {k: v for k, v in COMMON.items() if k != "head_dim"},
    "olmo": COMMON,
    "mixtral": COMMON | {"num_local_experts": 4},
    "qwen2_moe": COMMON | MOE | {"shared_expert_intermediate_size": 8, "decoder_sparse_step": 1},
    "qwen3_moe": COMMON | MOE,
}


def model(family="llama", seed=0, **changes):
    """A random model in eval mode."""
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**(FAMILIES[family] | changes))
    return AutoModelForCausalLM.from_config(config).eval()


def folder(path: Path, family="llama", shard="9KB", dtype=torch.float32, **changes):
    """The folder of a random model, in several shards."""
    model(family, **changes).to(dtype).save_pretrained(path, max_shard_size=shard)
    return path


def batches(count=2, rows=3, length=12, pad=4, seed=0, vocabulary=40):
    """Calibration batches whose first row begins with `pad` tokens of padding."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, :pad] = 0
    ids = torch.randint(3, vocabulary, (count, rows, length), generator=rng)
    return [{"input_ids": ids[i] * mask, "attention_mask": mask} for i in range(count)]


def load(path):
    """The folder as any user loads it."""
    return AutoModelForCausalLM.from_pretrained(path).eval()
