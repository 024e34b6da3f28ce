"""Texts to calibrate on: plain text, JSON lines, data sets of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError
from ..core.extras import need

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMS = "`text`, `messages`, or `instruction` with `output`"


def read_texts(
    source: str | Path, tokenizer: PreTrainedTokenizerBase | None = None, rows: int = 100_000
) -> list[str]:
    """The texts of a `.txt` file (blank lines between them), a `.jsonl` file, or a hub data set.

    Rows are objects with `text`, with `messages` (which need the tokenizer's chat template), or with
    `instruction`, perhaps `input`, and `output`: with a template they become two turns, without one
    a line each. A hub data set is named `owner/name`, `owner/name:configuration` or
    `owner/name:configuration:split` (else its training split), and read from its beginning.

    Args:
        source: a file, or the name of a data set.
        tokenizer: for its chat template.
        rows: the most rows to read of a hub data set.
    """
    path = Path(source)
    if path.is_file():
        texts = _lines(path, tokenizer) if path.suffix in (".jsonl", ".json") else _blocks(path)
    elif path.suffix in (".txt", ".jsonl", ".json") or path.exists():
        raise DataError(f"'{source}' is no file that can be read; give a .txt or .jsonl file")
    else:
        texts = list(islice(_hub(str(source), tokenizer), rows))
    if not texts:
        raise DataError(f"'{source}' holds no text")
    return texts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read as UTF-8 text: {error}") from None


def _blocks(path: Path) -> list[str]:
    """Paragraphs between blank lines."""
    blocks = [""]
    for line in _read(path).splitlines():
        if line.strip():
            blocks[-1] += line + "\n"
        elif blocks[-1]:
            blocks.append("")
    return [block.rstrip("\n") for block in blocks if block]


def _lines(path: Path, tokenizer: PreTrainedTokenizerBase | None) -> list[str]:
    """One text from every line; an empty line is an error, for nobody meant it."""
    texts = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        where = f"'{path}', line {number}"
        if not line.strip():
            raise DataError(f"{where} is empty; every line holds one JSON object, delete it")
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where} is no JSON: {error}") from None
        texts.append(text_of(row, where, tokenizer))
    return texts


def text_of(row: Any, where: str, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """The text of one row.

    >>> text_of({"instruction": "Why?", "output": "So."}, "here", None)
    'Why?\\nSo.'
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where} holds no object; give {FORMS}")
    if "text" in row:
        text = str(row["text"])
    elif "messages" in row:
        text = _chat(list(row["messages"]), where, tokenizer)
    elif "instruction" in row and "output" in row:
        text = _pair(row, where, tokenizer)
    else:
        raise DataError(f"{where} has the fields {', '.join(row) or 'none'}; give {FORMS}")
    if not text.strip():
        raise DataError(f"{where} holds an empty text; leave the row out")
    return text


def _pair(row: Mapping[str, Any], where: str, tokenizer: PreTrainedTokenizerBase | None) -> str:
    asked = "\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
    if tokenizer is None or not tokenizer.chat_template:
        return f"{asked}\n{row['output']}"
    turns = [{"role": "user", "content": asked}]
    return _chat([*turns, {"role": "assistant", "content": str(row["output"])}], where, tokenizer)


def _chat(turns: list[Any], where: str, tokenizer: PreTrainedTokenizerBase | None) -> str:
    if tokenizer is None or not tokenizer.chat_template:
        raise DataError(
            f"{where} holds messages, but the tokenizer has no chat template; give {FORMS}"
        )
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def _hub(name: str, tokenizer: PreTrainedTokenizerBase | None) -> Iterator[str]:
    datasets = need("datasets", "a data set of a hub")
    path, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    try:
        found = datasets.load_dataset(path, config or None, split=split or "train", streaming=True)
        for number, row in enumerate(found, start=1):
            yield text_of(row, f"data set '{name}', row {number}", tokenizer)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"'{name}' is no file, and as a data set it cannot be read: {reason}"
        ) from None
