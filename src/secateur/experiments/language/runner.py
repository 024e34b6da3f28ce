"""Do a study of a language model: phase after phase, every run in a folder named by its digest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.device import pick_device
from ...core.errors import PlanError
from .. import provenance
from ..locks import awaited, held
from ..place import results_folder
from .config import SCHEMA, LanguageStudy, Line, Phase
from .judge import best, judge
from .results import (
    DEFINITION,
    Entry,
    LanguageResults,
    define,
    load_language,
    read_result,
    result_path,
    write_plain,
)
from .subject import Subject
from .trial import carry_out, config_of

Listener = Callable[[Mapping[str, Any]], None]
POLL_SECONDS = 0.5
"""How often to look whether another process has finished a run that is waited for."""


class LanguageRunner:
    """A study of a language model and its results folder.

    Several processes may work on one folder; each run is done by one of them.

    Args:
        root: results folder; created, and refused when it holds another study.
        study: what to do. scale: shrinks questions and training.
        device: `auto`, `cpu` or `cuda`.
    """

    def __init__(
        self, root: str | Path, study: LanguageStudy, *, scale: float = 1.0, device: str = "auto"
    ) -> None:
        if not 0 < scale <= 1:
            raise PlanError(f"scale {scale} is outside (0, 1]; 1 is the study as it is defined")
        self.root = results_folder(root, DEFINITION)
        self.defined, self.scale = study, scale
        self.study = study.scaled(scale)
        self.device = pick_device(device)
        self.listen: Listener = lambda event: None

    @classmethod
    def reopen(cls, root: str | Path, *, device: str = "auto") -> LanguageRunner:
        """The study that a results folder belongs to."""
        found = load_language(root)
        return cls(root, found.study, scale=found.scale, device=device)

    @property
    def total(self) -> int:
        """Runs and trials in all."""
        searches = [phase.search.trials for phase in self.study.phases if phase.search]
        return len(list(self.study.lines())) + sum(searches)

    def run(self, listen: Listener) -> None:
        """Everything that is not finished; it ends when all of it is, whoever did it."""
        self.listen = listen
        define(self.root, self.defined, self.scale)
        with awaited(self.root / "trials"):  # one process trains the small model, the others wait
            self.subject = Subject(
                self.study, self.root, self.device, lambda row: listen({"kind": "training", **row})
            )
        for phase in self.study.phases:
            self._phase(phase)

    def _phase(self, phase: Phase) -> None:
        base = self._base(phase)
        for line in phase.runs:
            self.line(line, phase, base)
        if phase.search is not None:
            from .search import search

            search(self, phase, base)

    def _base(self, phase: Phase) -> dict[str, Any]:
        """The options every run of the phase begins with."""
        if phase.base == "study":
            return dict(self.study.options)
        found = self.results()
        pairs = [
            (e.id, found.run(e))
            for e in found.entries
            if e.phase < phase.phase and self.study.own(e.method)
        ]
        id = best(pairs, found.original, self.study.goals)
        if id is None:
            raise PlanError(
                f"phase {phase.phase} begins with the best run so far, but there is no pruned one"
            )
        return next(dict(e.options) for e in found.entries if e.id == id)

    def results(self) -> LanguageResults:
        """What is finished."""
        return load_language(self.root)

    def line(
        self, line: Line, phase: Phase, base: Mapping[str, Any], searched: bool = False
    ) -> dict[str, Any]:
        """The result of one line, made here or by another process."""
        options = self.study.options_of(line, base)
        recipe = self.study.recipe_of(line, base)
        config = config_of(self.subject, recipe)
        entry = Entry(
            line.id, phase.phase, line.note, config.digest, options, searched, line.method
        )
        path = result_path(self.root, config.digest, self.study.seed)
        while True:
            with held(path.parent) as mine:
                done = read_result(self.root, config.digest, self.study.seed)
                kind = "skipped"
                if done is None and mine:
                    self.listen({"kind": "begun", "id": line.id})
                    done, kind = self._measured(config.model_dump(mode="json"), recipe), "done"
                    write_plain(path, {**done, "digest": config.digest})
            if done is not None:
                write_plain(self.root / "lines" / f"{line.id}.json", entry.plain())
                self.listen({"kind": kind, "id": line.id, "note": line.note, **self._told(done)})
                return done
            time.sleep(POLL_SECONDS)

    def _measured(self, config: dict[str, Any], recipe: Any) -> dict[str, Any]:
        started, begun = provenance.now(), time.monotonic()
        found = carry_out(self.subject, recipe)
        return {
            "schema": SCHEMA,
            "experiment": self.study.name,
            "seed": self.study.seed,
            "config": config,
            **found,
            "seconds": time.monotonic() - begun,
            "versions": provenance.versions(),
            "git": provenance.git(),
            "machine": provenance.machine(str(self.device)),
            "started": started,
        }

    def _told(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What progress shows of a run."""
        return {
            "parameters": run["parameters"],
            "rouge": run["validation"]["rougeL"]["f1"],
            "seconds": run["seconds"],
        }

    def objectives(self, run: Mapping[str, Any]) -> tuple[float, float, float]:
        """What a search balances: quality kept, time and memory taken, of the original's."""
        verdict = judge(run, self.results().original, self.study.goals, "validation")
        return verdict.quality, verdict.time, verdict.memory
