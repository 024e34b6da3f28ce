"""Where a language-model study keeps things, and reading them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...artifact import write_bytes
from ...core.errors import StorageError
from ..results import DEFINITION, RESULT, read_json
from .config import KIND, SCHEMA, LanguageStudy


@dataclass(frozen=True)
class Entry:
    """A line of the table: which run it is, in which phase, and what it came with."""

    id: str
    phase: int
    note: str
    digest: str
    options: Mapping[str, Any] = field(default_factory=dict)
    searched: bool = False
    method: str | None = None

    def plain(self) -> dict[str, Any]:
        """As it is written."""
        return {"schema": SCHEMA, **self.__dict__, "options": dict(self.options)}


@dataclass(frozen=True)
class LanguageResults:
    """A study and everything that is finished of it, lines in order."""

    root: Path
    study: LanguageStudy
    scale: float
    entries: tuple[Entry, ...]
    runs: Mapping[str, dict[str, Any]]
    """Digest -> result."""

    def run(self, entry: Entry) -> dict[str, Any]:
        """The result of a line."""
        return self.runs[entry.digest]

    @property
    def original(self) -> dict[str, Any]:
        """The result of the original model."""
        return self.run(self.entries[0])

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of lines that have no result yet."""
        done = {entry.id for entry in self.entries}
        return tuple(line.id for line in self.study.lines() if line.id not in done)


def is_language_study(root: str | Path) -> bool:
    """Whether a results folder belongs to a study of a language model."""
    path = Path(root) / DEFINITION
    return path.exists() and read_json(path).get("kind") == KIND


def write_plain(path: Path, plain: Mapping[str, Any]) -> None:
    """JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps(plain, indent=1, ensure_ascii=False).encode())


def result_path(root: Path, digest: str, seed: int) -> Path:
    """A run's result: by the digest of its configuration, then by seed."""
    return root / digest / str(seed) / RESULT


def read_result(root: Path, digest: str, seed: int) -> dict[str, Any] | None:
    """A finished run, or None."""
    path = result_path(root, digest, seed)
    return read_json(path) if path.exists() else None


def define(root: Path, study: LanguageStudy, scale: float) -> None:
    """Write down what is done in this folder, or check that it is the same study."""
    path = root / DEFINITION
    plain = {
        "schema": SCHEMA,
        "kind": KIND,
        "scale": scale,
        "study": study.model_dump(mode="json", by_alias=True),
    }
    if path.exists():
        there = read_json(path)
        named = there.get("study", {}).get("name") if there.get("kind") == KIND else None
        if named != study.name:
            what = f"the study '{named}'" if named else "something else"
            raise StorageError(f"'{root}' holds {what}, not '{study.name}'; choose another --out")
        if there == plain:
            return
    write_plain(path, plain)


def load_language(root: str | Path) -> LanguageResults:
    """Read a results folder; lines whose result is not there yet are left out."""
    root = Path(root)
    plain = read_json(root / DEFINITION)
    study = LanguageStudy(**plain["study"])
    entries, runs = [], {}
    for path in (root / "lines").glob("*.json"):
        row = read_json(path)
        row.pop("schema")
        entry = Entry(**row)
        found = read_result(root, entry.digest, study.seed)
        if found is not None:
            entries.append(entry)
            runs[entry.digest] = found
    order = {line.id: i for i, line in enumerate(study.lines())}
    entries.sort(key=lambda e: (e.phase, e.searched, order.get(e.id, 0), _number(e.id)))
    return LanguageResults(root, study, float(plain["scale"]), tuple(entries), runs)


def _number(id: str) -> int:
    digits = "".join(c for c in id.rpartition("-")[2] if c.isdigit())
    return int(digits) if digits else 0
