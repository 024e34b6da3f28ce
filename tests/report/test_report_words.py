"""Both languages say everything, with the same values in it."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import secateur.report
from secateur.core.errors import PlanError
from secateur.report.words import LANGUAGES, Words

SOURCE = Path(secateur.report.__file__).parent


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_languages_have_the_same_keys(lang):
    assert LANGUAGES[lang].keys() == LANGUAGES["en"].keys()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_sentences_take_the_same_values(lang):
    for key, text in LANGUAGES[lang].items():
        assert placeholders(text) == placeholders(LANGUAGES["en"][key]), key


def test_korean_is_korean():
    scores = {
        f"lm.column.{name}"
        for name in ("rouge", "rouge1", "rouge2", "rouge_kept", "bleu", "bleu_kept")
    }
    same_everywhere = {"column.macs", "table.rounds"} | scores
    for key, text in LANGUAGES["ko"].items():
        told = re.sub(r"\{\w+\}", "", text)
        if key not in same_everywhere and re.search("[a-z]{4}", told, re.IGNORECASE):
            assert re.search("[가-힣]", told), key


def test_every_key_is_used_and_every_use_has_a_key():
    files = [path for path in SOURCE.rglob("*.py") if path.parent.name != "words"]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    literal = set(re.findall(r'"([a-z_]+(?:\.[a-z0-9_]+)*)"', code))
    built = {
        re.sub(r"\\{.*?\\}", ".+", re.escape(text))
        for text in re.findall(r'words\(\s*f"(.+?)"', code)
    }
    for key in LANGUAGES["en"]:
        assert key in literal or any(re.fullmatch(pattern, key) for pattern in built), key
    for key in re.findall(r'words\(\s*"(.+?)"', code):
        assert key in LANGUAGES["en"]


def test_percent_signs_stay_with_their_numbers():
    assert Words("en")("figure.sensitivity.dense", accuracy="9") == " Dense: 9\N{NO-BREAK SPACE}%."
    assert Words("ko")("figure.sensitivity.dense", accuracy="9").endswith("9%.")


def test_an_unknown_language_is_refused():
    with pytest.raises(PlanError, match="unknown report language 'kr'; did you mean 'ko'"):
        Words("kr")
