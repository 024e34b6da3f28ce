"""Overlap of a text with its reference: ROUGE-1, ROUGE-2, ROUGE-L and BLEU, in any script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.core.errors import DataError
from secateur.text.words import WORDS, WORDS_AND_POINTS, Words

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Rouge:
    """One ROUGE figure; each value lies in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU in [0, 1] with its parts; `signature` says how it was computed."""

    score: float
    precisions: tuple[float, ...]
    brevity: float
    prediction_words: int
    reference_words: int
    signature: str


def pairs(references: Sequence[str], predictions: Sequence[str]) -> list[tuple[str, str]]:
    """References and predictions side by side; refuses unequal lists and wordless references."""
    if len(references) != len(predictions):
        raise DataError(
            f"{len(references)} references but {len(predictions)} predictions; give one for each"
        )
    if not references:
        raise DataError("no texts to compare; give at least one reference and its prediction")
    for i, reference in enumerate(references):
        if not WORDS.tokenize(reference):
            raise DataError(
                f"reference {i} ({reference[:40]!r}) has no letter or digit to match; leave it out"
            )
    return list(zip(references, predictions, strict=True))


def rouge(reference: str, prediction: str, words: Words = WORDS) -> dict[str, Rouge]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of one prediction.

    For n-grams with clipped matches m:  P = m / n-grams(prediction),  R = m / n-grams(reference),
    F1 = 2PR / (P + R); ROUGE-L takes for m the length of the longest common subsequence of words. A
    text of one word has no bigram: its ROUGE-2 is 0 even against itself, as in the definition.

    Args:
        reference: the wanted text. prediction: the written one; without a word it scores 0.
        words: the tokenizer. The package's own would drop every letter outside a-z.

    >>> rouge("온도를 낮춘다", "온도를 낮춘다")["rougeL"].f1
    1.0
    >>> rouge("the cat sat", "the cat ran off")["rouge1"]
    Rouge(precision=0.5, recall=0.6666666666666666, f1=0.5714285714285715)

    Paper: Lin, "ROUGE: a package for automatic evaluation of summaries", ACL workshop 2004.
    """
    return rouge_each([reference], [prediction], words)[0]


def rouge_each(
    references: Sequence[str], predictions: Sequence[str], words: Words = WORDS
) -> list[dict[str, Rouge]]:
    """`rouge` for every pair, in order."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE_TYPES), tokenizer=words)
    found = [scorer.score(r, p) for r, p in pairs(references, predictions)]
    return [
        {k: Rouge(float(s.precision), float(s.recall), float(s.fmeasure)) for k, s in one.items()}
        for one in found
    ]


def rouge_mean(
    references: Sequence[str], predictions: Sequence[str], words: Words = WORDS
) -> dict[str, Rouge]:
    """Precision, recall and F1, each averaged over the pairs.

    >>> rouge_mean(["a b", "c d"], ["a b", "x"])["rouge1"]
    Rouge(precision=0.5, recall=0.5, f1=0.5)
    """
    each = rouge_each(references, predictions, words)
    return {kind: _mean([one[kind] for one in each]) for kind in ROUGE_TYPES}


def _mean(found: Sequence[Rouge]) -> Rouge:
    n = len(found)
    return Rouge(
        precision=sum(r.precision for r in found) / n,
        recall=sum(r.recall for r in found) / n,
        f1=sum(r.f1 for r in found) / n,
    )


def bleu(
    references: Sequence[str], predictions: Sequence[str], words: Words = WORDS_AND_POINTS
) -> Bleu:
    """Corpus BLEU: n-gram matches are summed over all pairs before the division.

    BLEU = min(1, e^(1 − r/c)) · (p₁ p₂ p₃ p₄)^¼  with pₙ the share of the predictions' n-grams that
    match, c and r the words of predictions and references. Texts are cut by `words` (case and
    punctuation kept) and handed to sacrebleu with `tokenize="none"`: its default, 13a, cuts no
    script but Latin, and its Korean one needs a MeCab dictionary. Zero counts are smoothed
    exponentially, sacrebleu's default. Orders that no prediction is long enough for are left out
    (`effective_order`), so identical texts of two words score 1.

    >>> bleu(["환기창을 열고 온도를 낮춘다."], ["환기창을 열고 온도를 낮춘다."]).score
    1.0

    Papers: Papineni et al., "BLEU", ACL 2002; Post, arXiv:1804.08771 (sacrebleu). sacrebleu prints
    100 times this.
    """
    import sacrebleu

    metric = _metric()
    couples = pairs(references, predictions)
    found = metric.corpus_score(
        [_spaced(p, words) for _, p in couples], [[_spaced(r, words) for r, _ in couples]]
    )
    return Bleu(
        score=_fraction(found.score),
        precisions=tuple(_fraction(p) for p in found.precisions),
        brevity=float(found.bp),
        prediction_words=int(found.sys_len),
        reference_words=int(found.ref_len),
        signature=f"{words.signature}|{metric.get_signature()}|sacrebleu {sacrebleu.__version__}",
    )


def sentence_bleu(reference: str, prediction: str, words: Words = WORDS_AND_POINTS) -> float:
    """BLEU of one pair in [0, 1], smoothed as in `bleu`; a mean of these is not the corpus BLEU.

    >>> round(sentence_bleu("a b c d", "a b c e"), 4)
    0.5946
    """
    [(reference, prediction)] = pairs([reference], [prediction])
    found = _metric().sentence_score(_spaced(prediction, words), [_spaced(reference, words)])
    return _fraction(found.score)


def _metric():  # type: ignore[no-untyped-def]
    from sacrebleu.metrics import BLEU

    # force: the text is already cut into words, which is what the warning this silences would say.
    return BLEU(tokenize="none", effective_order=True, force=True)


def _spaced(text: str, words: Words) -> str:
    return " ".join(words.tokenize(text))


def _fraction(percent: float) -> float:
    # exp(mean(log 100)) is 100.00000000000004 in floats; a score above 1 would be no score.
    return min(1.0, round(float(percent) / 100, 12))
