"""ROUGE and BLEU against figures worked out by hand, in English, Korean and other scripts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.text.compare import score_texts
from secateur.text.overlap import Rouge, bleu, rouge, rouge_mean, sentence_bleu
from secateur.text.words import WORDS, Words

KOREAN = "토마토 온실의 습도가 높으면 환기창을 연다."


def near(precision: float, recall: float) -> Rouge:
    f1 = 2 * precision * recall / (precision + recall)
    return Rouge(pytest.approx(precision), pytest.approx(recall), pytest.approx(f1))


def test_rouge_of_an_english_pair_by_hand():
    # unigrams: the ×2, cat, mat match of 5 and 6; bigrams: "the cat", "the mat" of 4 and 5;
    # longest common subsequence: the cat the mat
    found = rouge("The cat sat on the mat.", "the cat ate the mat")
    assert found["rouge1"] == near(4 / 5, 4 / 6)
    assert found["rouge2"] == near(2 / 4, 2 / 5)
    assert found["rougeL"] == near(4 / 5, 4 / 6)


def test_rouge_of_a_korean_pair_by_hand():
    # four of five words, one bigram (온도는 이십오), in order: 온실 온도는 이십오
    found = rouge("토마토 온실 온도는 이십오 도", "온실 토마토 온도는 이십오")
    assert found["rouge1"] == near(4 / 4, 4 / 5)
    assert found["rouge2"] == near(1 / 3, 1 / 4)
    assert found["rougeL"] == near(3 / 4, 3 / 5)


def test_rouge_clips_repeated_words():
    assert rouge("the cat", "the the the the")["rouge1"] == near(1 / 4, 1 / 2)


@pytest.mark.parametrize(
    "text", [KOREAN, "温室番茄需要通风", "ตรวจสอบความชื้น", "टमाटर का पौधा", "Томат растёт"]
)
def test_identical_texts_score_one_in_every_script(text):
    found = rouge(text, text)
    assert [found[kind].f1 for kind in ("rouge1", "rouge2", "rougeL")] == [1.0, 1.0, 1.0]
    assert bleu([text], [text]).score == 1.0
    assert sentence_bleu(text, text) == 1.0


def test_the_usual_package_alone_would_give_zero_for_korean():
    from rouge_score.rouge_scorer import RougeScorer

    assert RougeScorer(["rouge1"]).score(KOREAN, KOREAN)["rouge1"].fmeasure == 0


def test_decomposed_hangul_equals_composed():
    import unicodedata

    assert rouge(KOREAN, unicodedata.normalize("NFD", KOREAN))["rougeL"].f1 == 1.0


def test_marks_stay_with_their_letter():
    assert WORDS.tokenize("का की") == ["का", "की"]


def test_syllables_forgive_particles():
    assert rouge("토마토를", "토마토가")["rouge1"].f1 == 0.0
    assert rouge("토마토를", "토마토가", Words(syllables=True))["rouge1"] == near(3 / 4, 3 / 4)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=127)))
def test_on_ascii_the_words_are_those_of_rouge_score(text):
    from rouge_score.tokenizers import DefaultTokenizer

    assert WORDS.tokenize(text) == DefaultTokenizer().tokenize(text)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.booleans(), st.booleans())
def test_words_hold_every_letter_and_digit_and_no_space(text, points, syllables):
    import unicodedata

    words = Words(points=points, syllables=syllables).tokenize(text)
    kept = [c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum()]
    assert [c for word in words for c in word if c.isalnum()] == kept
    assert all(word and not any(c.isspace() for c in word) for word in words)


def test_mean_weighs_each_pair_the_same():
    found = rouge_mean(["a b c d", "x"], ["a b c d", "y"])["rouge1"]
    assert found == Rouge(0.5, 0.5, 0.5)


def test_bleu_of_one_changed_word_by_hand():
    # matching n-grams of "a b c d x f": 5 of 6, 3 of 5, 2 of 4, 1 of 3; no brevity penalty
    found = bleu(["a b c d e f"], ["a b c d x f"])
    assert found.precisions == pytest.approx((5 / 6, 3 / 5, 2 / 4, 1 / 3))
    assert found.score == pytest.approx((1 / 12) ** 0.25)
    assert found.brevity == 1.0


def test_bleu_brevity_of_a_korean_pair_by_hand():
    # punctuation counts: 창을 열고 , 온도를 낮춘다 . = 6 words against 4, all n-grams match
    found = bleu(["창을 열고, 온도를 낮춘다."], ["창을 열고, 온도를"])
    assert (found.prediction_words, found.reference_words) == (4, 6)
    assert found.score == pytest.approx(math.exp(1 - 6 / 4))


def test_corpus_bleu_sums_before_it_divides():
    # 8 of 8, 6 of 6 … in the first, 0 of 4 words in the second; r = c = 12
    found = bleu(["a b c d e f g h", "i j k l"], ["a b c d e f g h", "q r s t"])
    assert found.precisions == pytest.approx((8 / 12, 7 / 10, 6 / 8, 5 / 6))


def test_bleu_says_how_it_was_computed():
    signature = bleu(["a b"], ["a b"]).signature
    assert "secateur-words:nfkc,points" in signature
    assert "tok:none" in signature
    assert "sacrebleu 2" in signature


def test_an_empty_prediction_scores_zero():
    assert rouge("a b", "")["rougeL"].f1 == 0.0
    assert bleu(["a b"], [""]).score == 0.0


def test_scores_of_a_set():
    found = score_texts(
        ["온도를 낮춘다", "open the vents"], ["온도를 낮춘다", "close"], [["온도"], ["vent"]]
    )
    assert (found.examples, found.rougeL.f1, found.exact, found.keyword) == (2, 0.5, 0.5, 0.5)
    assert score_texts(["a"], ["a"]).keyword is None


@pytest.mark.parametrize(
    ("references", "predictions", "match"),
    [
        (["a", "b"], ["a"], "2 references but 1 predictions"),
        ([], [], "no texts"),
        (["ok", "..."], ["a", "b"], "reference 1"),
    ],
)
def test_texts_that_cannot_be_compared_are_refused(references, predictions, match):
    with pytest.raises(DataError, match=match):
        rouge_mean(references, predictions)
    with pytest.raises(DataError, match=match):
        bleu(references, predictions)


def test_keyword_lists_must_fit():
    with pytest.raises(DataError, match="1 keyword lists for 2"):
        score_texts(["a", "b"], ["a", "b"], [["a"]])
