"""Questions with answers: the embedded set, folders, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from secateur.core.errors import DataError, StorageError
from secateur.data.questions import ALERTS, load_questions
from tests.support_data import needs_data


def test_the_embedded_questions_are_held_out_and_answerable() -> None:
    data = load_questions("smartfarm-embedded")
    parts = [{row.question for row in part} for part in (data.train, data.validation, data.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    known = {row.answer.partition("] ")[2] for row in data.train}
    assert all(row.answer.partition("] ")[2] in known for row in data.test + data.validation)
    assert data == load_questions("smartfarm-embedded")
    assert any("가" <= letter <= "힣" for row in data.test for letter in row.question)


def test_alerts_lie_in_their_range_and_are_answered_first() -> None:
    seen = set()
    for row in load_questions("smartfarm-embedded").train:
        found = re.match(r"\[STATUS: (\w+)\((\d+)\)\]", row.question)
        if found is None:
            assert row.question.startswith("[STATUS: OK]")
            continue
        kind, reading = found[1], int(found[2])
        low, high, step, advice = ALERTS[kind]
        assert low <= reading <= high
        assert (reading - low) % step == 0
        assert row.answer.startswith(f"[WARNING: {kind}({reading}). {advice}]")
        seen.add(kind)
    assert seen == set(ALERTS)


def folder(path: Path, train: list[dict[str, str]], test: list[dict[str, str]]) -> str:
    for name, rows in (("train", train), ("test", test)):
        (path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return str(path)


def row(question: str, answer: str = "yes") -> dict[str, str]:
    return {"instruction": question, "output": answer, "category": "c"}


def test_a_folder_loses_no_row_and_trains_on_nothing_it_tests(tmp_path: Path) -> None:
    train = [row(f"q{i}") for i in range(40)] + [row("asked")]
    data = load_questions(folder(tmp_path, train, [row("asked")]))
    assert {r.question for r in data.train + data.validation} == {f"q{i}" for i in range(40)}
    assert len(data.validation) == 2
    assert data.test[0].topic == "c"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 is no JSON"),
        ("[1]", "line 1 is no JSON object"),
        ('{"instruction": "q", "output": " "}', "line 1: a row needs"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(row("q")))
    (tmp_path / "train.jsonl").write_text(line)
    with pytest.raises(DataError, match=said):
        load_questions(str(tmp_path))


def test_a_folder_without_files_or_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read questions"):
        load_questions(str(tmp_path))
    with pytest.raises(DataError, match="no questions to train on"):
        load_questions(folder(tmp_path, [row("q")], [row("q")]))


@needs_data
def test_the_real_questions() -> None:
    data = load_questions("smartfarm")
    assert (data.name, len(data.test)) == ("smartfarm", 600)
    assert len(data.train) + len(data.validation) == 4242  # 60 of 4302 ask what is tested
