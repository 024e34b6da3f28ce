"""Exact match, keyword match and the choice of keywords."""

from __future__ import annotations

import pytest

from secateur.core.errors import DataError
from secateur.text.match import exact_match, has_keyword, keyword_match, keywords


@pytest.mark.parametrize(
    ("reference", "prediction", "same"),
    [
        ("Open the vents!", "open  the\nvents", True),
        ("온도 25도.", "온도 25도", True),
        ("온도 25도", "온도 26도", False),
        ("open vents", "vents open", False),
        ("ＡＢＣ", "abc", True),
    ],
)
def test_exact_match(reference, prediction, same):
    assert exact_match(reference, prediction) is same


@pytest.mark.parametrize(
    ("keyword", "text", "found"),
    [
        ("gray mold", "The gray, mold", True),
        ("gray mold", "gray and mold", False),
        ("mold", "moldy leaves", False),
        ("습도", "습도를 낮춘다", True),
        ("온실 습도", "온실 습도가", True),
        ("온실 습도", "온실의 습도가", False),
        ("한 습도", "이상한 습도", False),
        ("25", "at 25.5 degrees", True),
        ("long keyword here", "short", False),
    ],
)
def test_keywords_in_text(keyword, text, found):
    assert has_keyword(keyword, text) is found


def test_keyword_match_is_a_share():
    assert keyword_match(["a", "b", "c"], "c a") == pytest.approx(2 / 3)


def test_empty_keywords_are_refused():
    with pytest.raises(DataError, match="empty keyword list"):
        keyword_match([], "text")
    with pytest.raises(DataError, match="no letter"):
        has_keyword("?!", "text")


def test_keywords_prefer_what_the_other_references_lack():
    found = keywords(["the fan runs the fan", "the vents open", "the 습도 낮다"], count=2)
    assert found == [["fan", "runs"], ["vents", "open"], ["습도", "낮다"]]


def test_fewer_words_than_asked_give_fewer_keywords():
    assert keywords(["mold", "a 7"], count=3) == [["mold"], ["7"]]
