"""Texts and samples to calibrate on."""

import json

import pytest

from secateur.core.errors import DataError
from secateur.text.calibration import Sampling, calibrate
from secateur.text.samples import read_texts, text_of


class Letters:
    """A tokenizer that gives a letter its code, after a start token 1."""

    pad_token_id = None
    chat_template = None

    def __call__(self, text, verbose=False):
        self.input_ids = [1, *map(ord, text)]
        return self


class Chatty(Letters):
    chat_template = "yes"

    def apply_chat_template(self, turns, tokenize):
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns)


def lines(path, *rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def test_text_files_are_cut_at_blank_lines(tmp_path):
    path = lines(tmp_path / "a.txt", "one", "two", "", "  ", "three", "")
    assert read_texts(path) == ["one\ntwo", "three"]


def test_rows_become_texts_with_and_without_a_template(tmp_path):
    rows = [
        {"text": "plain"},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "input": "I", "output": "A", "category": "x"},
    ]
    path = lines(tmp_path / "a.jsonl", *rows)
    assert read_texts(path, Letters()) == ["plain", "Q\nA", "Q\nI\nA"]
    assert read_texts(path, Chatty())[1:] == ["<user>Q<assistant>A", "<user>Q\nI<assistant>A"]
    turns = {"messages": [{"role": "user", "content": "hi"}]}
    assert text_of(turns, "here", Chatty()) == "<user>hi"
    with pytest.raises(DataError, match="no chat template"):
        text_of(turns, "here", Letters())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("", "line 2 is empty"),
        ("{", "line 2 is no JSON"),
        ("[1]", "line 2 holds no object"),
        ({"text": "  "}, "line 2 holds an empty text"),
        ({"question": "x"}, "line 2 has the fields question"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, words):
    path = lines(tmp_path / "a.jsonl", {"text": "fine"}, row, {"text": "fine"})
    with pytest.raises(DataError, match=words) as error:
        read_texts(path)
    assert "\n" not in str(error.value)


def test_sources_that_hold_nothing_are_refused(tmp_path):
    for path in (lines(tmp_path / "a.txt", "", ""), lines(tmp_path / "a.jsonl", "")):
        with pytest.raises(DataError, match="holds no text"):
            read_texts(path)
    with pytest.raises(DataError, match="is no file"):
        read_texts(tmp_path / "missing.jsonl")


def test_packed_samples_are_full_and_follow_each_other():
    found = calibrate(Letters(), ["abc", "def", "ghij"], Sampling(3, 4, batch=2))
    ids = [row for batch in found.batches for row in batch["input_ids"].tolist()]
    assert [len(row) for row in ids] == [4, 4, 4]
    assert all("attention_mask" not in batch for batch in found.batches)
    stream = "".join(chr(i) for row in ids for i in row)
    assert sorted(stream.split("\x01")[1:], key=len)[0] in ("abc", "def")
    assert found.facts["tokens"] == 12


def test_padded_samples_say_what_is_padding():
    found = calibrate(Letters(), ["ab", "cdef"], Sampling(2, 4, packed=False))
    (batch,) = found.batches
    rows = sorted(zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True))
    assert rows == [([1, 97, 98, 0], [1, 1, 1, 0]), ([1, 99, 100, 101], [1, 1, 1, 1])]
    assert found.facts["tokens"] == 7


def test_the_seed_alone_decides_and_the_digest_tells():
    texts = [chr(97 + i) * 9 for i in range(20)]
    one, two = (calibrate(Letters(), texts, Sampling(4, 8, seed=s)) for s in (0, 0))
    other = calibrate(Letters(), texts, Sampling(4, 8, seed=1))
    assert one.facts == two.facts
    assert one.facts["digest"] != other.facts["digest"]


def test_too_little_text_and_a_foreign_tokenizer_are_refused():
    with pytest.raises(DataError, match="hold 2 samples of 4 tokens, 3 were asked for"):
        calibrate(Letters(), ["abcdefgh"], Sampling(3, 4))
    with pytest.raises(DataError, match="hold 1 texts, 3 were asked for"):
        calibrate(Letters(), ["abcdefgh"], Sampling(3, 4, packed=False))
    with pytest.raises(DataError, match="gives token 97, the model has 50"):
        calibrate(Letters(), ["a"], Sampling(1, 2), vocabulary=50)
    with pytest.raises(DataError, match="samples 0 is not positive"):
        Sampling(0)


def test_a_data_set_that_cannot_be_had_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*args, **options):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match="as a data set it cannot be read") as error:
        read_texts("no-such-owner/no-such-set")
    assert "\n" not in str(error.value)


def test_rows_of_a_data_set(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def fake(*args, **options):
        asked.append((args, options))
        return iter([{"text": "one"}, {"text": "two"}, {"text": "three"}])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    assert read_texts("owner/name:en:validation", rows=2) == ["one", "two"]
    assert asked == [(("owner/name", "en"), {"split": "validation", "streaming": True})]
