"""Does the answer hold what matters: exact text, keywords, and keywords where none were given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from secateur.core.errors import DataError
from secateur.text.words import WORDS, is_hangul


def exact_match(reference: str, prediction: str) -> bool:
    """Whether both texts have the same words in the same order.

    Before comparison: Unicode NFKC, lower case, punctuation and white space only separate words.
    Articles stay (SQuAD's normalisation drops the English ones).

    >>> exact_match("Open the vents.", " open the VENTS"), exact_match("온도 25도", "온도 26도")
    (True, False)
    """
    return WORDS.tokenize(reference) == WORDS.tokenize(prediction)


def has_keyword(keyword: str, text: str) -> bool:
    """Whether the words of `keyword` stand one after another in `text`.

    Words are equal after the normalisation of `exact_match`. Korean particles attach to the word
    they follow, so a keyword that ends in Hangul also matches a word that begins with it: `온도` is
    found in `온도가`.

    >>> has_keyword("gray mold", "Prevent Gray Mold."), has_keyword("mold", "moldy")
    (True, False)
    >>> has_keyword("온도", "온도가 높다")
    True
    """
    wanted = WORDS.tokenize(keyword)
    if not wanted:
        raise DataError(f"keyword {keyword!r} has no letter or digit; leave it out")
    words = WORDS.tokenize(text)
    return any(
        _stands_at(wanted, words[i : i + len(wanted)]) for i in range(len(words) - len(wanted) + 1)
    )


def _stands_at(wanted: list[str], words: list[str]) -> bool:
    if wanted[:-1] != words[:-1]:
        return False
    last, word = wanted[-1], words[-1]
    return word == last or (is_hangul(last[-1]) and word.startswith(last))


def keyword_match(keywords: Sequence[str], text: str) -> float:
    """The share of `keywords` that `text` holds, in [0, 1].

    >>> keyword_match(["ventilation", "humidity"], "Raise ventilation at once.")
    0.5
    """
    if not keywords:
        raise DataError(
            "an empty keyword list; give at least one keyword, or take them from `keywords`"
        )
    return sum(has_keyword(keyword, text) for keyword in keywords) / len(keywords)


def keywords(references: Sequence[str], count: int = 5) -> list[list[str]]:
    """The `count` words of each reference that tell it best from the others.

    tf·idf(w, i) = tf(w, i) · ln((1 + N) / (1 + df(w))) with tf the times w stands in reference i,
    df the number of references that hold it, N = len(references). Words of one letter are passed
    over unless they are digits or stand alone in their script; ties go to the word that comes
    first.

    >>> keywords(["the vents open at noon", "the pump runs at noon"], count=2)
    [['vents', 'open'], ['pump', 'runs']]
    """
    tokens = [WORDS.tokenize(reference) for reference in references]
    holding = Counter(word for words in tokens for word in set(words))
    return [_best(words, holding, len(tokens), count) for words in tokens]


def _best(words: list[str], holding: Counter[str], total: int, count: int) -> list[str]:
    times = Counter(word for word in words if len(word) > 1 or not word.isascii() or word.isdigit())
    value = {word: n * math.log((1 + total) / (1 + holding[word])) for word, n in times.items()}
    return sorted(value, key=lambda word: -value[word])[:count]
