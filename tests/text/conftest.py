"""A tiny Llama with a byte tokenizer, and the trained story model where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from byte_tokens import byte_tokenizer


def stories_folder() -> Path:
    """The trained story model beside the data folder; skips, saying so, where it is absent."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SECATEUR_DATA", beside)).parent / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"needs the trained model {folder}; set SECATEUR_DATA to the data folder")
    return folder


@pytest.fixture(scope="session")
def tiny():
    """A two-layer Llama whose weights are large enough for uneven predictions; context 64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.6,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def stories():
    """The trained story model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = stories_folder()
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(
        folder
    )
