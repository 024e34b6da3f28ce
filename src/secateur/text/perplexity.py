"""Perplexity of a causal language model, with all that makes the figure comparable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from secateur.core.errors import DataError, NumberError
from secateur.text.state import context_length, device_of, evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_POSITIONS_AT_ONCE = (
    256  # bounds the float32 copy of the logits to this many rows of the vocabulary
)


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and what it was taken over.

    `nats` is the summed negative log-likelihood, `tokens` the tokens it covers and `text_bytes`
    their UTF-8 bytes; `perplexity = exp(nats / tokens)` depends on the tokenizer, `bits_per_byte =
    nats / (ln 2 · text_bytes)` does not.
    """

    perplexity: float
    bits_per_byte: float
    nats: float
    tokens: int
    text_bytes: int
    texts: int
    length: int
    stride: int
    joined: bool


@dataclass(frozen=True)
class Window:
    """`ids[:-1]` goes in, `ids[1:]` is predicted, and the last `scored` predictions count."""

    ids: tuple[int, ...]
    scored: int


def windows(ids: Sequence[int], length: int, stride: int) -> Iterator[Window]:
    """Windows of at most `length` inputs that predict every token but the first exactly once.

    >>> [(w.ids, w.scored) for w in windows([7, 8, 9, 10, 11], length=3, stride=2)]
    [((7, 8, 9, 10), 3), ((8, 9, 10, 11), 1)]
    """
    done, last = 1, len(ids)
    while done < last:
        end = min(last, length + 1 if done == 1 else done + stride)
        yield Window(tuple(ids[max(0, end - length - 1) : end]), end - done)
        done = end


@torch.inference_mode()
def perplexity(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    length: int | None = None,
    stride: int | None = None,
    batch_size: int = 1,
    join: str | None = None,
) -> Perplexity:
    """Perplexity of `model` over `texts`.

    PPL = exp(−(1/N) Σ ln p(tᵢ | tᵢ₋ₗ … tᵢ₋₁)), the log-softmax in float32, the sum in float64. Each
    text begins with the tokenizer's start token, which is context and never counted; where it has
    none, the first token of each text is context only, and neither it nor its bytes are counted.
    Every other token is counted once; padding never.

    Args:
        model: maps `input_ids`, `attention_mask` [batch, length] to `.logits` [batch, length,
            vocabulary].
        texts: scored one by one, so that no text is context of another; or joined (see `join`).
        length: inputs in a window; default the model's context, at most 2048.
        stride: new tokens a window scores after the first; default `length`, windows that do not
            overlap. A smaller stride gives each token more context and takes `length / stride`
            times as long.
        join: when given, the texts become one stream with this string between them (`"\\n\\n"` for
            WikiText-2).

    Where others differ: the scripts of the pruning papers drop what does not fill the last window
    and the first token of each window; here both count, so the figure covers the whole text.
    """
    length = min(context_length(model) or 2048, 2048) if length is None else length
    stride = length if stride is None else stride
    _check(model, texts, length, stride)
    streams = [join.join(texts)] if join is not None else list(texts)
    encoded = [_encode(tokenizer, text) for text in streams]
    cut = [window for ids, _ in encoded for window in windows(ids, length, stride)]
    with evaluating(model):
        nats = sum(_nats(model, part) for part in _batches(cut, batch_size))
    return _result(
        float(nats),
        tokens=sum(window.scored for window in cut),
        text_bytes=sum(covered for _, covered in encoded),
        texts=len(texts),
        length=length,
        stride=stride,
        joined=join is not None,
    )


def _check(model: torch.nn.Module, texts: Sequence[str], length: int, stride: int) -> None:
    if isinstance(texts, str) or not texts or not any(texts):
        raise DataError("perplexity needs a list with at least one text that is not empty")
    if not 1 <= stride <= length:
        raise DataError(f"stride {stride} does not lie in 1 … {length} (the window's length)")
    context = context_length(model)
    if context is not None and length > context:
        raise DataError(
            f"length {length} exceeds the model's context of {context}; ask for at most {context}"
        )


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], int]:
    """Token ids with the start token, and the UTF-8 bytes of the tokens that will be counted."""
    start = tokenizer.bos_token_id
    if start is not None:
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return [int(start), *ids], len(text.encode())
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    first = found["offset_mapping"][0][1] if found["offset_mapping"] else 0
    return list(found.input_ids), len(text[first:].encode())


def _batches(cut: list[Window], batch_size: int) -> Iterator[list[Window]]:
    """Windows of like length together, so that little is padded."""
    cut = sorted(cut, key=lambda window: -len(window.ids))
    for i in range(0, len(cut), max(1, batch_size)):
        yield cut[i : i + max(1, batch_size)]


def _nats(model: torch.nn.Module, part: list[Window]) -> float:
    """Summed negative log-likelihood of the scored tokens of one batch."""
    widest = max(len(window.ids) for window in part) - 1
    ids = torch.zeros(len(part), widest + 1, dtype=torch.long)  # [batch, inputs + 1]
    mask = torch.zeros(len(part), widest, dtype=torch.long)  # [batch, inputs]
    for row, window in enumerate(part):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
        mask[row, : len(window.ids) - 1] = 1
    device = device_of(model)
    logits = model(input_ids=ids[:, :-1].to(device), attention_mask=mask.to(device)).logits
    total = 0.0
    for row, window in enumerate(part):
        end = len(window.ids) - 1
        scored = slice(end - window.scored, end)
        total += _sum(logits[row, scored], ids[row, 1:][scored].to(device))
    return total


def _sum(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Σ −ln softmax(logits)[targets]; logits [tokens, vocabulary] of any dtype."""
    parts = zip(logits.split(_POSITIONS_AT_ONCE), targets.split(_POSITIONS_AT_ONCE), strict=True)
    return sum(
        float(F.cross_entropy(one.float(), wanted, reduction="none").double().sum())
        for one, wanted in parts
    )


def _result(nats: float, tokens: int, text_bytes: int, **settings: Any) -> Perplexity:
    if not tokens or not text_bytes:
        raise DataError("no token is left to predict; each text needs at least two tokens")
    if not math.isfinite(nats):
        raise NumberError(
            f"the log-likelihood of the texts is {nats}; the model's logits are not finite"
        )
    mean = nats / tokens
    return Perplexity(
        perplexity=math.exp(mean) if mean < 700 else math.inf,
        bits_per_byte=nats / math.log(2) / text_bytes,
        nats=nats,
        tokens=tokens,
        text_bytes=text_bytes,
        **settings,
    )
