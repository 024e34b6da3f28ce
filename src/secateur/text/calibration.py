"""Samples of token ids to calibrate on: how many, how long, packed or padded, from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.errors import DataError
from ..core.random import generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How texts become samples.

    Attributes:
        samples: how many.
        length: tokens of a packed sample; the most tokens of a padded one.
        seed: which texts, and in which order.
        packed: texts one after the other, cut into samples of full length; else a sample for each
            text, cut off at the length and padded at the end.
        batch: samples that run together.
    """

    samples: int = 128
    length: int = 512
    seed: int = 0
    packed: bool = True
    batch: int = 8

    def __post_init__(self) -> None:
        for name in ("samples", "length", "batch"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} {getattr(self, name)} is not positive; ask for 1 or more")


@dataclass(frozen=True)
class Calibration:
    """Batches for a model, and what is to be remembered of them.

    Attributes:
        batches: `input_ids` [batch, tokens] and, where anything is padded, `attention_mask`.
        facts: the sampling, tokens without padding, and a digest of all ids.
    """

    batches: list[dict[str, Tensor]]
    facts: dict[str, Any]


def calibrate(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    sampling: Sampling | None = None,
    vocabulary: int | None = None,
) -> Calibration:
    """Samples of the texts as the tokenizer cuts them, with its special tokens.

    Args:
        tokenizer: of the model.
        texts: as many as the samples need; they are taken in an order that the seed gives.
        sampling: how many, how long.
        vocabulary: rows of the model's embedding; a token beyond it does not fit.
    """
    sampling = sampling or Sampling()
    order = torch.randperm(
        len(texts), generator=generator(sampling.seed, "calibration", len(texts))
    )
    encoded = (_encode(tokenizer, texts[i], vocabulary) for i in order.tolist())
    rows = list(_packed(encoded, sampling) if sampling.packed else _single(encoded, sampling))
    if len(rows) < sampling.samples:
        unit = f"samples of {sampling.length} tokens" if sampling.packed else "texts"
        raise DataError(
            f"the calibration data hold {len(rows)} {unit}, {sampling.samples} were asked for; give "
            f"more text, or ask for fewer{' or shorter' if sampling.packed else ''} samples"
        )
    facts = asdict(sampling) | {"tokens": sum(map(len, rows)), "digest": _digest(rows)}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    parts = range(0, len(rows), sampling.batch)
    return Calibration([_batch(rows[i : i + sampling.batch], pad) for i in parts], facts)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, vocabulary: int | None) -> list[int]:
    ids = [int(i) for i in tokenizer(text, verbose=False).input_ids]
    if vocabulary is not None and ids and max(ids) >= vocabulary:
        raise DataError(
            f"the tokenizer does not fit the model: it gives token {max(ids)}, the model has "
            f"{vocabulary}; use the tokenizer the model was trained with"
        )
    return ids


def _packed(encoded: Iterable[list[int]], sampling: Sampling) -> Iterator[list[int]]:
    """Full samples of one stream of all texts."""
    rest: list[int] = []
    count = 0
    for ids in encoded:
        rest += ids
        while len(rest) >= sampling.length and count < sampling.samples:
            yield rest[: sampling.length]
            rest, count = rest[sampling.length :], count + 1
        if count == sampling.samples:
            return


def _single(encoded: Iterable[list[int]], sampling: Sampling) -> Iterator[list[int]]:
    """One sample for each text that has a token."""
    count = 0
    for ids in encoded:
        if ids and count < sampling.samples:
            count += 1
            yield ids[: sampling.length]


def _batch(rows: list[list[int]], pad: int) -> dict[str, Tensor]:
    """Rows padded at the end to the longest of them, with a mask where anything was padded."""
    widest = max(map(len, rows))
    ids = torch.full((len(rows), widest), pad)
    mask = torch.zeros(len(rows), widest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids} if bool(mask.all()) else {"input_ids": ids, "attention_mask": mask}


def _digest(rows: list[list[int]]) -> str:
    """16 hex digits of all samples."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
