"""Greedy answers against an argmax loop without cache, batch or library."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from byte_tokens import byte_tokenizer

from secateur.core.errors import DataError
from secateur.text.generate import check_fits, generate, prompt_ids
from secateur.text.state import context_length

PROMPTS = ["the pump runs", "a", "온도 25", "gray mold spreads"]


def argmax_loop(model, ids: list[int], steps: int) -> list[int]:
    ids, start = list(ids), len(ids)
    for _ in range(steps):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


@pytest.fixture
def endless(tiny):
    """The tiny model without an end token, its settings given back afterwards."""
    stored = tiny.generation_config.eos_token_id
    tiny.generation_config.eos_token_id = 258  # beyond the vocabulary: never written
    yield tiny
    tiny.generation_config.eos_token_id = stored


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_answers_are_the_argmax_of_each_prompt_alone(endless, tokenizer, batch_size):
    answers = generate(endless, tokenizer, PROMPTS, max_new_tokens=12, batch_size=batch_size)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = prompt_ids(tokenizer, prompt)
        assert list(answer.tokens) == argmax_loop(endless, ids, 12)
        assert answer.prompt_tokens == len(ids)
        assert not answer.ended
        assert answer.text == tokenizer.decode(list(answer.tokens))


def test_stored_penalties_and_sampling_are_not_applied(endless, tokenizer):
    plain = generate(endless, tokenizer, PROMPTS, max_new_tokens=12)
    stored = endless.generation_config
    stored.repetition_penalty, stored.no_repeat_ngram_size = 9.0, 1
    stored.do_sample, stored.temperature = True, 5.0
    assert generate(endless, tokenizer, PROMPTS, max_new_tokens=12) == plain
    assert endless.generation_config is stored
    stored.repetition_penalty = stored.no_repeat_ngram_size = None
    stored.do_sample, stored.temperature = False, None


def test_an_end_token_ends_its_row_alone(endless, tokenizer):
    plain = generate(endless, tokenizer, PROMPTS, max_new_tokens=8)
    end = plain[0].tokens[3]
    endless.generation_config.eos_token_id = [end]
    for before, answer in zip(
        plain, generate(endless, tokenizer, PROMPTS, max_new_tokens=8), strict=True
    ):
        stop = before.tokens.index(end) if end in before.tokens else 8
        assert answer.tokens == before.tokens[:stop]
        assert answer.ended == (end in before.tokens)


def test_no_prompts_give_no_answers(tiny, tokenizer):
    assert generate(tiny, tokenizer, []) == []


@pytest.mark.parametrize(
    ("prompt", "new", "match"),
    [
        ("x" * 63, 1, "prompt 1 has 64 tokens, the model's context holds 64"),
        ("x" * 59, 5, "leaves 4 of the context of 64, but 5"),
        ("x", 0, "max_new_tokens 0"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(tiny, tokenizer, prompt, new, match):
    tokenizer = WithStart(tokenizer)
    with pytest.raises(DataError, match=match):
        generate(tiny, tokenizer, ["ok", prompt], max_new_tokens=new)


class WithStart:
    """The tokenizer with `<s>` before each prompt, as Llama's does."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, text, **options):
        return SimpleNamespace(input_ids=[0, *self.inner(text).input_ids])

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_a_prompt_that_just_fits_is_answered(endless, tokenizer):
    [answer] = generate(endless, tokenizer, ["x" * 60], max_new_tokens=4)
    assert len(answer.tokens) == 4


def test_an_empty_prompt_is_refused(tiny):
    with pytest.raises(DataError, match="prompt 0 has no tokens"):
        generate(tiny, byte_tokenizer(bos=False), [""])


def test_a_model_without_a_limit_takes_any_prompt():
    check_fits(torch.nn.Linear(1, 1), [[1] * 100_000], 10)


def test_the_context_of_a_multimodal_model_is_that_of_its_text_part():
    model = torch.nn.Linear(1, 1)
    model.config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=77))
    assert context_length(model) == 77


def test_chat_prompts_use_the_template_once():
    tokenizer = byte_tokenizer()
    with pytest.raises(DataError, match="no chat template"):
        prompt_ids(tokenizer, "hi", chat=True)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[answer]{% endif %}"
    )
    assert tokenizer.decode(prompt_ids(tokenizer, "hi", chat=True)) == "<s>[user]hi[answer]"


@pytest.mark.needs_data
def test_the_trained_model_tells_its_known_story(stories):
    model, tokenizer = stories
    [answer] = generate(model, tokenizer, [""], max_new_tokens=60)
    assert answer.text.strip().startswith(
        "Once upon a time, there was a little girl named Lily. "
        "She loved to play outside in the park."
    )
