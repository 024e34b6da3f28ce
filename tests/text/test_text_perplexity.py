"""Perplexity against a computation of its own, token by token, in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from byte_tokens import byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import DataError, NumberError
from secateur.text.perplexity import perplexity, windows

TEXTS = ["the pump runs", "온도 25", "a", "gray mold spreads in wet air"]


def by_hand(model, ids: list[int], length: int, stride: int) -> float:
    """Σ −ln p of every token but the first, each from a forward pass over its context alone."""
    total, position, begin_of_new = 0.0, 1, 1
    while position < len(ids):
        new = length if position == 1 else stride
        end = min(len(ids), position + new)
        first = max(0, end - length - 1)
        for i in range(begin_of_new, end):
            with torch.no_grad():
                logits = model(torch.tensor([ids[first:i]])).logits[0, -1].double().numpy()
            shifted = logits - logits.max()
            total -= shifted[ids[i]] - np.log(np.exp(shifted).sum())
        position = begin_of_new = end
    return float(total)


def encode(tokenizer, text: str) -> list[int]:
    return [0, *tokenizer(text, add_special_tokens=False).input_ids]


@pytest.mark.parametrize(("length", "stride"), [(64, 64), (6, 6), (6, 2), (6, 1)])
def test_it_equals_a_token_by_token_computation(tiny, tokenizer, length, stride):
    found = perplexity(tiny, tokenizer, TEXTS, length=length, stride=stride, batch_size=3)
    wanted = sum(by_hand(tiny, encode(tokenizer, text), length, stride) for text in TEXTS)
    size = sum(len(text.encode()) for text in TEXTS)
    assert found.nats == pytest.approx(wanted, rel=1e-6)
    assert found.tokens == found.text_bytes == size  # one token a byte
    assert found.perplexity == pytest.approx(math.exp(wanted / size), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(wanted / math.log(2) / size, rel=1e-6)
    assert (found.length, found.stride, found.texts, found.joined) == (length, stride, 4, False)


def test_padding_never_counts(tiny, tokenizer):
    alone = perplexity(tiny, tokenizer, TEXTS, batch_size=1)
    together = perplexity(tiny, tokenizer, TEXTS, batch_size=4)
    assert together.nats == pytest.approx(alone.nats, rel=1e-6)
    assert together.tokens == alone.tokens


def test_the_mask_tells_padding_from_text(tokenizer):
    class Spy(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            seen.extend(attention_mask.sum(dim=1).tolist())
            return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 258)})()

    seen: list[int] = []
    perplexity(Spy(), tokenizer, ["abcd", "ab"], batch_size=2)
    assert seen == [4, 2]


def test_joined_texts_are_one_stream(tiny, tokenizer):
    found = perplexity(tiny, tokenizer, TEXTS[:2], join="\n\n", length=16)
    whole = perplexity(tiny, tokenizer, ["\n\n".join(TEXTS[:2])], length=16)
    assert found.nats == whole.nats
    assert found.joined


def test_without_a_start_token_the_first_token_is_context_only(tiny):
    tokenizer = byte_tokenizer(bos=False)
    found = perplexity(tiny, tokenizer, ["온도 25"])
    ids = tokenizer("온도 25", add_special_tokens=False).input_ids
    assert found.nats == pytest.approx(by_hand(tiny, ids, 64, 64), rel=1e-6)
    assert found.tokens == 9 - 1
    assert found.text_bytes == 9 - 3  # the character that the first token belongs to


def test_an_even_model_has_the_vocabulary_as_its_perplexity(tiny, tokenizer):
    class Even(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            logits = torch.zeros(*input_ids.shape, 258)
            return type("Output", (), {"logits": logits})()

    assert perplexity(Even(), tokenizer, TEXTS).perplexity == pytest.approx(258)


def test_half_precision_logits_are_summed_in_full(tiny, tokenizer):
    class Half(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            logits = torch.zeros(*input_ids.shape, 258, dtype=torch.bfloat16)
            return type("Output", (), {"logits": logits})()

    # the float32 value of ln 258 survives; bfloat16 would give 5.5625
    assert perplexity(Half(), tokenizer, ["a" * 500]).nats / 500 == pytest.approx(math.log(258))


def test_the_mode_of_the_model_is_given_back(tiny, tokenizer):
    tiny.train()
    perplexity(tiny, tokenizer, ["ab"])
    training = tiny.training
    tiny.eval()
    assert training


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
def test_windows_predict_each_token_once_with_context(count, length, stride):
    stride = min(stride, length)
    ids = list(range(count))
    predicted = []
    for window in windows(ids, length, stride):
        assert 1 <= window.scored <= len(window.ids) - 1 <= length
        predicted += window.ids[-window.scored :]
    assert predicted == ids[1:]


@pytest.mark.parametrize(
    ("texts", "settings", "match"),
    [
        ([], {}, "at least one text"),
        (["", ""], {}, "at least one text"),
        ("a string", {}, "list"),
        (["ab"], {"length": 65}, "context of 64"),
        (["ab"], {"length": 8, "stride": 9}, "stride 9"),
        (["ab"], {"length": 8, "stride": 0}, "stride 0"),
    ],
)
def test_bad_requests_are_refused(tiny, tokenizer, texts, settings, match):
    with pytest.raises(DataError, match=match):
        perplexity(tiny, tokenizer, texts, **settings)


def test_one_token_without_context_is_refused(tiny):
    with pytest.raises(DataError, match="no token is left"):
        perplexity(tiny, byte_tokenizer(bos=False), ["a"])


def test_logits_that_are_not_finite_are_refused(tokenizer):
    class Broken(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return type("Output", (), {"logits": torch.full((*input_ids.shape, 258), torch.nan)})()

    with pytest.raises(NumberError, match="not finite"):
        perplexity(Broken(), tokenizer, ["ab"])


@pytest.mark.needs_data
def test_the_trained_model_finds_its_own_text_likely(stories):
    model, tokenizer = stories
    likely = perplexity(model, tokenizer, ["Once upon a time, there was a little girl named Lily."])
    unlikely = perplexity(
        model, tokenizer, ["Lily named girl little a was there, time a upon Once."]
    )
    assert likely.perplexity < 2 < 20 < unlikely.perplexity
