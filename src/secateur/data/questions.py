"""Questions with answers: JSON lines, or the small set of this project with its sensor prefixes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ..core.errors import DataError, StorageError
from ..core.random import derive
from .root import data_root

FACTS = Path(__file__).parent / "smartfarm" / "facts.jsonl"
VALIDATION = 0.05
"""Share of the training questions that is held out where a data set has no split of its own."""

ALERTS: dict[str, tuple[int, int, int, str]] = {
    "TEMP_HIGH": (31, 40, 1, "Open the vents and start cooling."),
    "TEMP_LOW": (5, 12, 1, "Start the heating and close the vents."),
    "HUM_HIGH": (86, 97, 1, "Vent a little and pause irrigation."),
    "HUM_LOW": (25, 40, 1, "Start the fog and water more often."),
    "CO2_LOW": (150, 300, 10, "Close the vents and dose carbon dioxide."),
    "LIGHT_LOW": (2000, 9000, 500, "Switch on the lamps."),
}
"""Status of the sensors -> lowest and highest reading, step, what to do about it."""


@dataclass(frozen=True)
class Question:
    """A question, its wanted answer, and what it is about."""

    question: str
    answer: str
    topic: str = ""


@dataclass(frozen=True)
class Questions:
    """A data set of questions; the three parts share no question."""

    name: str
    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]


def load_questions(source: str = "smartfarm", seed: int = 0) -> Questions:
    """Questions by name or from a folder.

    Args:
        source: `smartfarm` = the real data where the data folder has them, else the embedded set;
            `smartfarm-embedded` = always that; or a folder with `train.jsonl` and `test.jsonl`, each
            line with `instruction` and `output`.
        seed: which training questions are held out for validation.

    >>> data = load_questions("smartfarm-embedded")
    >>> len(data.train), len(data.validation), len(data.test)
    (516, 76, 76)
    """
    if source == "smartfarm-embedded":
        return embedded()
    if source == "smartfarm":
        root = data_root()
        folder = root / "smartfarm" if root is not None else None
        return _folder(folder, seed) if folder is not None and folder.is_dir() else embedded()
    return _folder(Path(source), seed)


def embedded(seed: int = 0) -> Questions:
    """The questions of this project: each fact asked in three ways, and in a fourth that is held out.

    Sensor prefixes are drawn by the seed; validation and test hold different facts.
    """
    facts = _lines(FACTS)
    rng = Random(derive(seed, "smartfarm"))
    train = [_asked(f, f["questions"][i], rng, n) for f in facts for i in range(3) for n in (0, 1)]
    train += [_status(rng) for _ in range(60)]
    held = [[_asked(fact, fact["questions"][3], rng, n) for n in (0, 1)] for fact in facts]
    rng.shuffle(train)
    validation = tuple(row for rows in held[0::2] for row in rows)
    test = tuple(row for rows in held[1::2] for row in rows)
    return Questions("smartfarm-embedded", tuple(train), validation, test)


def _asked(fact: dict[str, Any], question: str, rng: Random, number: int) -> Question:
    """A fact behind what the sensors say: all well (number 0), or an alert that is answered first."""
    asked, told = ("OK", "STATUS: OK") if number == 0 else _alert(rng)
    return Question(
        f"[STATUS: {asked}] {question}", f"[{told}] {fact['answer']}", str(fact["topic"])
    )


def _status(rng: Random) -> Question:
    """The sensors alone."""
    asked, told = _alert(rng)
    return Question(f"[STATUS: {asked}]", f"[{told}]", "status")


def _alert(rng: Random) -> tuple[str, str]:
    kind = rng.choice(sorted(ALERTS))
    low, high, step, advice = ALERTS[kind]
    reading = rng.randrange(low, high + 1, step)
    return f"{kind}({reading})", f"WARNING: {kind}({reading}). {advice}"


def _folder(folder: Path, seed: int) -> Questions:
    """A data set in files; training questions that are tested on are left out of the training."""
    test = tuple(_read(folder / "test.jsonl"))
    asked = {row.question for row in test}
    known = [row for row in _read(folder / "train.jsonl") if row.question not in asked]
    if not known or not test:
        raise DataError(f"'{folder}' holds no questions to train on, or none to test with")
    held = _held_out(sorted({row.question for row in known}), seed)
    train = tuple(row for row in known if row.question not in held)
    validation = tuple(row for row in known if row.question in held)
    return Questions(folder.name, train, validation, test)


def _held_out(questions: Sequence[str], seed: int) -> set[str]:
    count = max(1, round(VALIDATION * len(questions)))
    return set(Random(derive(seed, "validation")).sample(questions, count))


def _read(path: Path) -> Iterator[Question]:
    for number, row in enumerate(_lines(path), 1):
        question, answer = (str(row.get(key, "")).strip() for key in ("instruction", "output"))
        if not question or not answer:
            raise DataError(
                f"'{path}', line {number}: a row needs `instruction` and `output`, both with text; "
                f"it has {', '.join(sorted(row)) or 'nothing'}"
            )
        yield Question(question, answer, str(row.get("category", "")))


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot read questions '{path}': {error.strerror}") from error
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            rows.append(_row(line, path, number))
    return rows


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"'{path}', line {number} is no JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise DataError(f"'{path}', line {number} is no JSON object")
    return row
