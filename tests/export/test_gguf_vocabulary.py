"""The tokenizer in the file: read back by transformers, and refused where llama.cpp would differ."""

from __future__ import annotations

import gguf
import pytest
from gguf_models import build, byte_level
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from secateur.core.errors import PlanError
from secateur.export.gguf import save_gguf
from secateur.export.gguf.cutting import PROBE, SPLITS, cut_by_score, merge_scores
from secateur.export.gguf.vocabulary import vocabulary_of

LLAMA3_SPLIT, QWEN2_SPLIT = SPLITS


def sentencepiece_like(words: list[str], every_pair: bool = True) -> PreTrainedTokenizerFast:
    """Byte fallback, `▁` for spaces and before the text; the tokens are `words` and their letters.

    With `every_pair` the merges hold each pair of tokens that forms a token, as those taken from a
    sentencepiece model do; otherwise each word is built letter by letter.
    """
    letters = sorted({c for w in words for c in w} | {"▁"})
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *(f"<0x{b:02X}>" for b in range(256)), *letters, *words]
    vocab = {token: n for n, token in enumerate(tokens)}
    merges = [
        (word[:i], word[i:])
        for word in words
        for i in (range(1, len(word)) if every_pair else [len(word) - 1])
        if word[:i] in vocab and word[i:] in vocab
    ]
    model = models.BPE(
        vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


WORDS = ["on", "once", "up", "▁up", "▁a", "im", "토마", "토마토", "▁토마토"]


def test_a_sentencepiece_like_tokenizer_is_read_back_by_transformers(tmp_path):
    tokenizer = sentencepiece_like(WORDS)
    rows = len(tokenizer) + 5
    model = build("llama", vocab_size=rows)
    save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("once upon a time", *PROBE[:2]):
        wanted = tokenizer(text, add_special_tokens=False).input_ids
        assert read(text, add_special_tokens=False).input_ids == wanted


def test_the_types_of_tokens():
    tokenizer = sentencepiece_like(WORDS)
    tokenizer.add_tokens([AddedToken("<sensor>", normalized=False)])
    words = vocabulary_of(tokenizer, rows=len(tokenizer) + 2)
    kind = dict(zip(words.tokens, words.types, strict=True))
    assert [kind[t] for t in ("<unk>", "<s>", "<0x41>", "once", "<sensor>")] == [2, 3, 6, 1, 4]
    last = len(tokenizer)
    assert words.tokens[last:] == (f"[PAD{last}]", f"[PAD{last + 1}]")
    assert words.types[last:] == (5, 5)
    assert words.special == {"bos": 1, "eos": 2, "unk": 0}
    assert (words.model, words.space_first, words.adds_bos, words.adds_eos) == (
        "llama",
        True,
        False,
        False,
    )


def test_earlier_merges_score_higher():
    scores = merge_scores([("o", "n"), ("on", "ce"), ("o", "nce")])
    assert scores == {"on": 0.0, "once": -1.0}
    tokens = {"o", "n", "c", "e", "on", "once", "ce"}
    assert cut_by_score("once", tokens, scores | {"ce": -2.0}) == ["once"]
    assert cut_by_score("온", tokens, scores) == ["<0xEC>", "<0x98>", "<0xA8>"]


def test_merges_that_llama_cpp_would_overrun_are_refused():
    # its merges make O + nc of "Once"; by score alone these two join to the token "Onc"
    tokenizer = sentencepiece_like(["nc", "On", "Onc"], every_pair=False)
    with pytest.raises(PlanError, match="train a byte-level tokenizer"):
        vocabulary_of(tokenizer, rows=600)


@pytest.mark.parametrize(
    ("split", "name"), [(None, "gpt-2"), (LLAMA3_SPLIT, "llama-bpe"), (QWEN2_SPLIT, "qwen2")]
)
def test_byte_level_tokenizers_are_named_and_read_back(tmp_path, split, name):
    tokenizer = byte_level(split)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    save_gguf(build("qwen2"), tmp_path / "m.gguf", tokenizer=tokenizer)
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert fields["tokenizer.ggml.pre"].contents() == name
    assert fields["tokenizer.chat_template"].contents() == tokenizer.chat_template
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("hello world 1234", *PROBE):
        assert read(text).input_ids == tokenizer(text).input_ids


def test_an_unknown_split_is_refused():
    with pytest.raises(PlanError, match="known: gpt-2"):
        vocabulary_of(byte_level(r"\d+|\D+"), rows=300)


def test_a_space_before_byte_level_text_is_refused():
    from tokenizers import pre_tokenizers

    tokenizer = byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(PlanError, match="add_prefix_space=False"):
        vocabulary_of(tokenizer, rows=300)


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(PlanError, match="the model 100 embeddings"):
        vocabulary_of(byte_level(), rows=100)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"), "WordLevel tokenizer"),
        (models.BPE(vocab={"a": 0}, merges=[]), "neither byte-level"),
    ],
)
def test_other_kinds_of_tokenizer_are_refused(model, match):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    with pytest.raises(PlanError, match=match):
        vocabulary_of(tokenizer, rows=10)


@pytest.mark.needs_data
def test_the_tokenizer_of_a_trained_llama_is_read_back(tmp_path, stories):
    model, tokenizer = stories
    save_gguf(model, tmp_path / "m.gguf", tokenizer=tokenizer)
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in ("Once upon a time", *PROBE[:2]):  # its reader joins leading spaces
        assert read(text).input_ids == tokenizer(text).input_ids
