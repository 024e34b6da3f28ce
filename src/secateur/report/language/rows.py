"""A study's results as the report sees them: lines with verdicts, the best of each phase, the winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core.errors import StorageError
from ...experiments.language.config import LanguageStudy
from ...experiments.language.judge import Verdict, best, judge
from ...experiments.language.results import Entry, LanguageResults, load_language


@dataclass(frozen=True)
class Row:
    """A line of the tables: its entry, its result, and how it compares on the test questions."""

    entry: Entry
    run: Mapping[str, Any]
    verdict: Verdict

    @property
    def name(self) -> str:
        """The folder of the run: digest and seed."""
        return f"{self.entry.digest}/{self.run['seed']}"

    @property
    def removed(self) -> float:
        """Share of all units taken out."""
        counts = self.run["layers"].values()
        total = sum(units for _, units in counts)
        return sum(gone for gone, _ in counts) / total if total else 0.0


@dataclass(frozen=True)
class Rows:
    """Everything the report draws on."""

    results: LanguageResults

    @property
    def study(self) -> LanguageStudy:
        """As it was defined."""
        return self.results.study

    @cached_property
    def all(self) -> tuple[Row, ...]:
        """Every finished line, the original first."""
        original, goals = self.results.original, self.study.goals
        return tuple(
            Row(entry, run, judge(run, original, goals, "test"))
            for entry in self.results.entries
            for run in [self.results.run(entry)]
        )

    @property
    def original(self) -> Row:
        """The original model's."""
        return self.all[0]

    @cached_property
    def pruned(self) -> tuple[Row, ...]:
        """All others."""
        return tuple(row for row in self.all if row.run["layers"])

    @cached_property
    def bests(self) -> dict[str, int]:
        """Id of the best line of each phase -> the phase."""
        phases = dict.fromkeys(row.entry.phase for row in self.pruned)
        return {self._best([r for r in self.pruned if r.entry.phase == p]): p for p in phases}

    @cached_property
    def winner(self) -> Row | None:
        """The best line of all, by the validation questions."""
        if not self.pruned:
            return None
        id = self._best(list(self.pruned))
        return next(row for row in self.pruned if row.entry.id == id)

    def chosen_by(self, row: Row) -> Verdict:
        """What a line was chosen by: the verdict on the validation questions."""
        return judge(row.run, self.results.original, self.study.goals, "validation")

    def _best(self, rows: list[Row]) -> str:
        pairs = [(row.entry.id, row.run) for row in rows]
        found = best(pairs, self.results.original, self.study.goals)
        assert found is not None
        return found

    @cached_property
    def shown(self) -> tuple[Row, ...]:
        """The columns of the heat map: what is written out, and the winner where it was searched."""
        return tuple(r for r in self.pruned if not r.entry.searched or r is self.winner)


def open_rows(root: str | Path) -> Rows:
    """Read a results folder; one without the original model's result is an error."""
    results = load_language(root)
    if not results.entries or results.entries[0].phase or results.run(results.entries[0])["layers"]:
        raise StorageError(
            f"'{root}' holds no result of the original model yet; go on with: secateur resume {root}"
        )
    return Rows(results)
