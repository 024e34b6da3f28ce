"""The trained Llama of 260 thousand parameters, and text it samples itself at temperature 1."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from support_data import weights
from torch import Tensor, nn

LENGTH = 128


@cache
def _dense() -> nn.Module:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights("stories260k"))
    model.config.use_cache = False
    return model.eval()


def stories() -> nn.Module:
    """The dense model; `prune` works on a copy."""
    return _dense()


@cache
def sampled(samples: int, seed: int) -> Tensor:
    """[samples, LENGTH] tokens drawn from the model at temperature 1."""
    model: Any = _dense()
    start = torch.ones(samples, 1, dtype=torch.long)  # <s>
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model.generate(
            start, attention_mask=torch.ones_like(start), do_sample=True, temperature=1.0, top_k=0,
            top_p=1.0, max_new_tokens=LENGTH - 1, pad_token_id=0, eos_token_id=None, use_cache=True,
        )  # fmt: skip
    assert isinstance(out, Tensor)
    return out


def calibration(samples: int = 16) -> list[dict[str, Tensor]]:
    """Batches of one sample each, with labels."""
    ones = torch.ones(1, LENGTH, dtype=torch.long)
    rows = sampled(samples, seed=1).split(1)
    return [{"input_ids": row, "attention_mask": ones, "labels": row} for row in rows]


def example() -> dict[str, Tensor]:
    ids = sampled(16, seed=1)[:2, :16]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    found: Tensor = model(**batch).loss
    return found


@torch.no_grad()
def perplexity(model: nn.Module) -> float:
    """On text of another seed."""
    ids = sampled(32, seed=2)
    return float(model(input_ids=ids, labels=ids).loss.exp())
