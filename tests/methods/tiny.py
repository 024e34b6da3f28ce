"""A tiny random Llama and tokens for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def tiny_llama(layers: int = 4, **options: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**{
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32,
        "use_cache": False, **options,
    })  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 0.2 if "norm" in name else 0.3
                parameter.copy_(torch.randn_like(parameter) * scale + ("norm" in name))
    return model


def tokens(samples: int = 4, length: int = 10, seed: int = 1) -> dict[str, Tensor]:
    """Random tokens, the first sample padded on the right, the second on the left."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 40, (samples, length), generator=rng)
    mask = torch.ones_like(ids)
    mask[0, length - 4 :] = 0
    if samples > 1:
        mask[1, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}
