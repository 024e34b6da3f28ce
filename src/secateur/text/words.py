"""Cut text of any script into words, as every text metric of this package does.

The tokenizer of the `rouge-score` package keeps `[a-z0-9]` alone: a Korean text has no words left
and two identical ones score 0. Here a character counts by its Unicode category, so every script
keeps its letters.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Scripts written without spaces between words: each letter (with its marks) is a word of its own.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x323AF),  # Han, extensions B to H
)
_HANGUL = ((0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3130, 0x318F))


def is_hangul(char: str) -> bool:
    """Whether `char` is a Hangul syllable or letter.

    >>> is_hangul("온"), is_hangul("o")
    (True, False)
    """
    return any(low <= ord(char) <= high for low, high in _HANGUL)


@lru_cache(maxsize=65536)
def _kind(char: str, syllables: bool) -> str:
    """`word` (joins its neighbours), `alone`, `mark` (joins what is before), `point` or `gap`."""
    category = unicodedata.category(char)
    if category[0] == "M":
        return "mark"
    if category[0] in "LN":
        code = ord(char)
        alone = any(low <= code <= high for low, high in _UNSPACED)
        return "alone" if alone or (syllables and is_hangul(char)) else "word"
    return "point" if category[0] in "PS" else "gap"


@dataclass(frozen=True)
class Words:
    """A tokenizer: runs of letters, digits and their marks are words, in every script.

    Text is brought to Unicode NFKC first, so decomposed Hangul (as some file systems write it)
    equals composed and full-width letters equal plain ones. On ASCII the default gives exactly the
    tokens of `rouge-score`. Scripts without spaces (Han, kana, Thai, Lao, Khmer, Burmese) give one
    word a letter. Korean is cut at its spaces; `syllables=True` cuts it into syllables, which
    forgives particles (`토마토를` and `토마토가` share three).

    Args:
        lower: bring letters to lower case.
        points: keep each punctuation mark or symbol as a word, as BLEU does; otherwise they only
            separate.
        syllables: cut Hangul into syllables.

    >>> Words().tokenize("토마토 온도는 25.5℃, OK?")
    ['토마토', '온도는', '25', '5', 'c', 'ok']
    >>> Words(lower=False, points=True).tokenize("OK, 東京!")
    ['OK', ',', '東', '京', '!']
    >>> Words(syllables=True).tokenize("온도 25")
    ['온', '도', '25']
    """

    lower: bool = True
    points: bool = False
    syllables: bool = False

    def tokenize(self, text: str) -> list[str]:
        """The words of `text` in order; the name of the method is the one `rouge-score` calls."""
        text = unicodedata.normalize("NFKC", text)
        words: list[str] = []
        before = "gap"
        for char in text.lower() if self.lower else text:
            kind = _kind(char, self.syllables)
            if kind == "mark" and before in ("word", "alone"):
                words[-1] += char
                continue
            if kind == "word" and before == "word":
                words[-1] += char
            elif kind in ("word", "alone") or (kind == "point" and self.points):
                words.append(char)
            before = kind
        return words

    @property
    def signature(self) -> str:
        """What was done to the text, in one word, for the record of a measurement.

        >>> Words(points=True).signature
        'secateur-words:nfkc,lower,points'
        """
        names = [name for name in ("lower", "points", "syllables") if getattr(self, name)]
        return "secateur-words:" + ",".join(["nfkc", *names])


WORDS = Words()
"""For ROUGE, keywords and exact match: lower case, punctuation left out."""

WORDS_AND_POINTS = Words(lower=False, points=True)
"""For BLEU: case kept, each punctuation mark a word."""
