"""Questions and answers as tokens: the batches a language model is trained and calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.random import derive
from ...data.questions import Question
from ...text.generate import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that no loss is taken of."""

Ids = tuple[list[int], int]
"""Token ids of question and answer, and how many of them are the question's."""


def encode(tokenizer: PreTrainedTokenizerBase, row: Question, chat: bool) -> Ids:
    """A question as the model is asked it, its answer and the end token."""
    asked = prompt_ids(tokenizer, row.question, chat)
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    answer = tokenizer(row.answer, add_special_tokens=False).input_ids
    return [*asked, *answer, *end], len(asked)


def padded(rows: Sequence[Ids], pad: int) -> tuple[Tensor, Tensor]:
    """ids and labels [batch, longest], padded on the right; only answers have labels."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, (tokens, asked) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, asked : len(tokens)] = torch.tensor(tokens[asked:])
    return ids, labels


def answer_loss(outputs: Any, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the labelled tokens, each predicted by what stands before it.

    Attention is causal, so padding on the right changes nothing to its left.
    """
    logits = outputs.logits[:, :-1].flatten(0, 1)  # [batch * (longest - 1), vocabulary]
    return F.cross_entropy(logits.float(), labels[:, 1:].flatten(), ignore_index=IGNORED)


def calibration(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Question], chat: bool, size: int
) -> list[dict[str, Tensor]]:
    """Batches as keywords of the model, with an attention mask: what statistics are taken of."""
    encoded = sorted((encode(tokenizer, row, chat) for row in rows), key=lambda pair: len(pair[0]))
    batches = []
    for i in range(0, len(encoded), size):
        part = encoded[i : i + size]
        ids, labels = padded(part, tokenizer.pad_token_id or 0)
        lengths = torch.tensor([len(tokens) for tokens, _ in part])
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return batches


def calibration_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The loss of a calibration batch, for importances that need gradients."""
    outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return answer_loss(outputs, batch["labels"])


class Turns:
    """Training batches (ids, labels): a pure function of seed, epoch and place in it.

    Questions of like length share a batch, so that little is padded.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rows: Sequence[Question],
        batch_size: int,
        seed: int = 0,
        chat: bool = True,
    ) -> None:
        self._rows = [encode(tokenizer, row, chat) for row in rows]
        self._size, self._seed, self._pad = batch_size, seed, tokenizer.pad_token_id or 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in every epoch."""
        return -(-len(self._rows) // self._size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start`, `start + 1`, … of epoch `number`."""
        rng = Random(derive(self._seed, "turns", number))
        order = list(range(len(self._rows)))
        rng.shuffle(order)
        order.sort(key=lambda i: len(self._rows[i][0]) // 8)  # stable: shuffled within a length
        batches = [order[i : i + self._size] for i in range(0, len(order), self._size)]
        rng.shuffle(batches)
        for chosen in batches[start:]:
            yield padded([self._rows[i] for i in chosen], self._pad)
