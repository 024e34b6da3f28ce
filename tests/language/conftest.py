"""A random Llama of 64 words with its tokenizer, and texts of those words."""

from __future__ import annotations

import json

import pytest
import torch

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
WORDS = ["the", "leaf", "is", "dry", "so", "water", "it", "now", "and", "wait", "for", "rain"]


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A random Llama of 64 words and two key-value heads, with its tokenizer."""
    pytest.importorskip("transformers")
    from tests.engine.blockwise import tiny

    path = tiny.folder(tmp_path_factory.mktemp("model") / "llama", vocab_size=64, **HEADS)
    add_tokenizer(path)
    return path


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """The same with two layers, not three: what is traced takes as long as it has layers."""
    pytest.importorskip("transformers")
    from tests.engine.blockwise import tiny

    path = tmp_path_factory.mktemp("model") / "short"
    add_tokenizer(tiny.folder(path, vocab_size=64, num_hidden_layers=2, **HEADS))
    return path


@pytest.fixture(scope="session")
def mixture(tmp_path_factory):
    """A random Mixtral of four experts."""
    pytest.importorskip("transformers")
    from tests.engine.blockwise import tiny

    path = tiny.folder(tmp_path_factory.mktemp("model") / "mixtral", "mixtral", vocab_size=64)
    add_tokenizer(path)
    return path


def add_tokenizer(path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(path)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    rng = torch.Generator().manual_seed(0)
    picks = torch.randint(len(WORDS), (60, 12), generator=rng).tolist()
    rows = [{"text": " ".join(WORDS[i] for i in row)} for row in picks]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path
