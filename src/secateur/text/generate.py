"""Greedy answers in batches, padded on the left, through Hugging Face's `generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from secateur.core.errors import DataError
from secateur.text.state import context_length, device_of, evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """What a model wrote; `tokens` without the end token, `ended` when it wrote one."""

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: bool


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, chat: bool = False) -> list[int]:
    """Token ids of a prompt with the special tokens, or as the user's turn of the chat template."""
    if not chat:
        ids = list(tokenizer(prompt, verbose=False).input_ids)
        # Tokenizers such as T5's and BERT's close each text; a closed prompt cannot be continued.
        ended = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id
        return ids[:-1] if ended else ids
    if not tokenizer.chat_template:
        raise DataError("the tokenizer has no chat template; pass chat=False or give it one")
    turn = [{"role": "user", "content": prompt}]
    found: Any = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
    return list(found["input_ids"])


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 128,
    batch_size: int = 8,
    chat: bool = False,
) -> list[Answer]:
    """The greedy continuation of each prompt, in the order of the prompts.

    tₙ₊₁ = argmax p(· | t₁ … tₙ) until an end token or `max_new_tokens`. Sampling settings and
    penalties stored with the model are not applied. Prompts of different length share a batch:
    shorter ones are padded on the left, masked and counted from position 0, so an answer does not
    depend on its batch (up to float rounding).

    Args:
        prompts: texts. chat: wrap each in the tokenizer's chat template as a user's turn.
        max_new_tokens: prompt and answer must fit into the context together.
    """
    encoded = [prompt_ids(tokenizer, prompt, chat) for prompt in prompts]
    check_fits(model, encoded, max_new_tokens)
    # Long prompts first: prompts of like length share a batch, and memory peaks at the start.
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    answers: dict[int, Answer] = {}
    with evaluating(model), plain_greedy(model):
        for part in (order[i : i + batch_size] for i in range(0, len(order), batch_size)):
            rows = _continue(model, tokenizer, [encoded[i] for i in part], max_new_tokens)
            for i, row in zip(part, rows, strict=True):
                answers[i] = _answer(model, tokenizer, row, len(encoded[i]))
    return [answers[i] for i in range(len(encoded))]


def check_fits(
    model: torch.nn.Module, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> None:
    """Refuse prompts that are empty, longer than the context, or leave no room for the answer."""
    if max_new_tokens < 1:
        raise DataError(f"max_new_tokens {max_new_tokens} is below 1; ask for at least one token")
    context = context_length(model)
    for i, ids in enumerate(prompts):
        if not ids:
            raise DataError(f"prompt {i} has no tokens; leave it out or write something")
        if context is not None and len(ids) >= context:
            raise DataError(
                f"prompt {i} has {len(ids)} tokens, the model's context holds {context}; shorten it"
            )
        if context is not None and len(ids) + max_new_tokens > context:
            raise DataError(
                f"prompt {i} has {len(ids)} tokens and leaves {context - len(ids)} of the context of "
                f"{context}, but {max_new_tokens} new ones were asked for; shorten the prompt or "
                f"lower max_new_tokens"
            )


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: the model's own list, else the tokenizer's end token."""
    stored = getattr(model.generation_config, "eos_token_id", None)
    ids = stored if stored is not None else tokenizer.eos_token_id
    if ids is None:
        return []
    return [int(i) for i in ids] if isinstance(ids, (list, tuple)) else [int(ids)]


@contextmanager
def plain_greedy(model: PreTrainedModel) -> Iterator[None]:
    """Inside, `model.generate` sees no stored setting (penalties, sampling) but the end tokens."""
    from transformers import GenerationConfig

    stored = model.generation_config
    model.generation_config = GenerationConfig(
        eos_token_id=getattr(stored, "eos_token_id", None), do_sample=False
    )
    try:
        yield
    finally:
        model.generation_config = stored


def _continue(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """New token ids of each prompt of one batch, what follows the end token included."""
    ids, mask = left_padded(prompts, tokenizer.pad_token_id or 0)
    device = device_of(model)
    writer: Any = model.generate
    out = writer(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        generation_config=greedy_config(model, tokenizer, max_new_tokens),
    )
    rows: list[list[int]] = out[:, ids.shape[1] :].tolist()  # [batch, new]
    return rows


def greedy_config(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    ends: bool = True,
) -> Any:
    """Greedy settings of `generate`; without `ends` exactly `max_new_tokens` are written."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        min_new_tokens=None if ends else max_new_tokens,
        eos_token_id=end_ids(model, tokenizer) or None,
        pad_token_id=tokenizer.pad_token_id or 0,
    )


def left_padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask [batch, longest], the padding on the left.

    >>> left_padded([[5, 6], [7]], pad=0)[0].tolist()
    [[5, 6], [0, 7]]
    """
    longest = max(len(ids) for ids in prompts)
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: list[int], prompt_tokens: int
) -> Answer:
    ends = set(end_ids(model, tokenizer))
    stop = next((i for i, token in enumerate(row) if token in ends), None)
    tokens = row if stop is None else row[:stop]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return Answer(str(text), tuple(tokens), prompt_tokens, ended=stop is not None)
