"""All text metrics of one set of answers at once, as a table row wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.core.errors import DataError
from secateur.text.match import exact_match, keyword_match
from secateur.text.overlap import Bleu, Rouge, bleu, pairs, rouge_mean


@dataclass(frozen=True)
class TextScores:
    """Means over a set of answers, each in [0, 1]; `keyword` is None without keywords."""

    examples: int
    rouge1: Rouge
    rouge2: Rouge
    rougeL: Rouge
    bleu: Bleu
    exact: float
    keyword: float | None


def score_texts(
    references: Sequence[str],
    predictions: Sequence[str],
    keywords: Sequence[Sequence[str]] | None = None,
) -> TextScores:
    """ROUGE (mean over the pairs), corpus BLEU, exact match and keyword match of `predictions`.

    Args:
        references: the wanted texts. predictions: the written ones, in the same order.
        keywords: one list for each pair, or None.

    >>> scores = score_texts(["온도를 낮춘다"], ["온도를 낮춘다"], keywords=[["온도"]])
    >>> scores.rougeL.f1, scores.bleu.score, scores.exact, scores.keyword
    (1.0, 1.0, 1.0, 1.0)
    """
    couples = pairs(references, predictions)
    found = rouge_mean(references, predictions)
    return TextScores(
        examples=len(couples),
        rouge1=found["rouge1"],
        rouge2=found["rouge2"],
        rougeL=found["rougeL"],
        bleu=bleu(references, predictions),
        exact=sum(exact_match(r, p) for r, p in couples) / len(couples),
        keyword=None if keywords is None else _keyword_mean(keywords, predictions),
    )


def _keyword_mean(keywords: Sequence[Sequence[str]], predictions: Sequence[str]) -> float:
    if len(keywords) != len(predictions):
        raise DataError(
            f"{len(keywords)} keyword lists for {len(predictions)} predictions; give one for each"
        )
    found = [keyword_match(k, p) for k, p in zip(keywords, predictions, strict=True)]
    return sum(found) / len(found)
