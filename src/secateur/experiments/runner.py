"""Do a study: every run in a folder named by its configuration, then the analyses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..artifact import read_bytes, save_sparse, write_bytes
from ..core.errors import PlanError, StorageError
from ..engine.execute import Outcome, execute
from ..engine.run import Run
from ..engine.store import FolderStore
from . import provenance
from .config import SCHEMA, Experiment, Planned
from .deliver import deliver
from .locks import held
from .place import results_folder
from .results import DEFINITION, RESULT, WEIGHTS
from .setting import Workshop

Listener = Callable[[Planned, dict[str, Any]], None]


class Runner:
    """A study and its results folder.

    Args:
        root: results folder; created, and refused when it holds another study.
        study: what to do.
        scale: shrinks epochs and data.
        device: `auto`, `cpu` or `cuda`.
        checkpoint_seconds: how often to checkpoint while training; 0 = at every step.
    """

    def __init__(
        self,
        root: str | Path,
        study: Experiment,
        *,
        scale: float = 1.0,
        device: str = "auto",
        checkpoint_seconds: float = 30.0,
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise PlanError(
                "a study is not launched as one distributed job; start `secateur run` once per "
                "device on the same --out (CUDA_VISIBLE_DEVICES=0, =1, …): the runs are shared out"
            )
        if not 0 < scale <= 1:
            raise PlanError(f"scale {scale} is outside (0, 1]; 1 is the study as it is defined")
        self.root = results_folder(root, DEFINITION)
        self.study, self.scale = study, scale
        self.workshop = Workshop(device, checkpoint_seconds)
        self.planned: Sequence[Planned] = study.planned(scale)

    @classmethod
    def reopen(cls, root: str | Path, *, device: str = "auto") -> Runner:
        """The study that a results folder belongs to."""
        path = Path(root) / DEFINITION
        if not path.exists():
            raise StorageError(
                f"'{root}' holds no study ({DEFINITION} is missing); use `secateur run`"
            )
        plain = _definition(path)
        return cls(root, Experiment(**plain["study"]), scale=plain["scale"], device=device)

    @property
    def finished(self) -> bool:
        """Whether every run of the study has a result."""
        return all(self.result(planned) is not None for planned in self.planned)

    def run(self, listen: Listener) -> None:
        """Every run that is not finished; another process' runs are left to it."""
        self._try()
        self._define()
        for planned in self.planned:
            self._one(planned, listen)

    def _try(self) -> None:
        """Build everything once, so that a mistake is found before anything is written."""
        distinct = {p.config.dense_digest: p for p in self.planned if self.result(p) is None}
        for planned in distinct.values():
            model, setting = self.workshop.make(planned.config, planned.seed)
            Run(planned.config.build_recipe(), model, setting)

    def _define(self) -> None:
        """Write down what is done here, or check that it is the same."""
        plain = {
            "schema": SCHEMA,
            "scale": self.scale,
            "study": self.study.model_dump(mode="json", by_alias=True),
        }
        path = self.root / DEFINITION
        if path.exists():
            self._check_same(_definition(path))
        with held(self.root):
            write_bytes(path, json.dumps(plain, indent=1, ensure_ascii=False).encode())

    def _check_same(self, there: dict[str, Any]) -> None:
        name = there["study"]["name"]
        if name != self.study.name:
            raise PlanError(
                f"'{self.root}' holds the study '{name}', not '{self.study.name}'; choose another --out"
            )

    def folder(self, planned: Planned) -> Path:
        """Where a run lives: by the digest of its configuration, then by seed."""
        return self.root / planned.config.digest / str(planned.seed)

    def result(self, planned: Planned) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        path = self.folder(planned) / RESULT
        return json.loads(read_bytes(path)) if path.exists() else None

    def _one(self, planned: Planned, listen: Listener) -> None:
        folder = self.folder(planned)
        with held(folder) as mine:
            done = self.result(planned)
            if done is not None:
                listen(planned, {"kind": "skipped", **done})
            elif not mine:
                listen(planned, {"kind": "busy"})
            else:
                self._work(planned, folder, listen)

    def _work(self, planned: Planned, folder: Path, listen: Listener) -> None:
        started = provenance.now()
        config = json.dumps(planned.config.model_dump(mode="json"), indent=1, ensure_ascii=False)
        write_bytes(folder.parent / "config.json", config.encode())
        store = FolderStore(folder)
        run = self.open(planned, store, lambda event: listen(planned, event))
        outcome = execute(run)
        self._finish(planned, run, outcome, started)
        store.clear()
        listen(planned, {"kind": "done", "points": outcome.points, "seconds": outcome.seconds})

    def open(
        self, planned: Planned, store: FolderStore, tell: Callable[[dict[str, Any]], None]
    ) -> Run:
        """The run at its beginning, before it looks for a checkpoint."""
        config, seed = planned.config, planned.seed
        model, setting = self.workshop.make(config, seed)
        dense = FolderStore(self.root / "dense" / config.dense_digest / str(seed))
        shared = dense if setting.training is not None else None
        return Run(config.build_recipe(), model, setting, store, shared, tell)

    def _finish(self, planned: Planned, run: Run, outcome: Outcome, started: str) -> None:
        folder = self.folder(planned)
        lines = "\n".join(json.dumps(row) for row in outcome.log)
        write_bytes(folder / "log.jsonl", lines.encode())
        state, masks = outcome.model.state_dict(), outcome.masks
        save_sparse(folder / WEIGHTS, state, masks)
        result = self._result(planned, outcome, started)
        small = deliver(outcome, run.recipe, planned.seed, run.setting.example, folder)
        result |= {"small": small} if small is not None else {}
        write_bytes(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False).encode())

    def _result(self, planned: Planned, outcome: Outcome, started: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "digest": planned.config.digest,
            "seed": planned.seed,
            "experiment": planned.experiment,
            "label": planned.label,
            "method": planned.method,
            "config": planned.config.model_dump(mode="json"),
            "points": outcome.points,
            "seconds": outcome.seconds,
            "versions": provenance.versions(),
            "git": provenance.git(),
            "machine": provenance.machine(str(self.workshop.device)),
            "started": started,
            "seeds": list(self.study.seeds),
        }

    def analyse(self, say: Callable[[str], None]) -> None:
        """The study's analyses, over the finished runs."""
        from .analyses import analyse

        for name, options in self.study.analyses.items():
            path = self.root / "analyses" / f"{name}.json"
            if not path.exists():
                say(f"analysis {name} …")
                plain = analyse(name, options, self)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, json.dumps(plain, indent=1, ensure_ascii=False).encode())


def _definition(path: Path) -> dict[str, Any]:
    """The study a results folder was made for; a file of anything else is left alone."""
    try:
        plain = json.loads(read_bytes(path))
    except ValueError as error:
        raise StorageError(
            f"'{path}' is damaged or not ours: {error}; choose another --out"
        ) from error
    if not isinstance(plain, dict) or not {"schema", "study"} <= plain.keys():
        raise StorageError(f"'{path}' was not written by secateur; choose another --out")
    if plain["schema"] > SCHEMA:
        raise StorageError(
            f"'{path}' was written by a newer version (schema {plain['schema']}); "
            "upgrade secateur or choose another --out"
        )
    return plain
