"""Every sentence of the report, in every language it can be written in."""

from __future__ import annotations

from ...core.errors import unknown
from .en import ENGLISH
from .en_language import ENGLISH_LANGUAGE
from .ko import KOREAN
from .ko_language import KOREAN_LANGUAGE

LANGUAGES = {"en": ENGLISH | ENGLISH_LANGUAGE, "ko": KOREAN | KOREAN_LANGUAGE}


class Words:
    """The sentences of one language, looked up by key and filled with values.

    Args:
        lang: `en` or `ko`.

    >>> Words("en")("column.seed", seed=42)
    'Seed 42'
    """

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise unknown("report language", lang, LANGUAGES)
        self.lang = lang
        self._table = LANGUAGES[lang]
        self._percent = "%" if lang == "ko" else "\N{NO-BREAK SPACE}%"

    def __call__(self, key: str, **values: object) -> str:
        return self._table[key].format(**values).replace(" %", self._percent)
