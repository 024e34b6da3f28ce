"""Read results: a folder of finished runs and analyses, checked, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..artifact.atomic import read_bytes
from ..core.errors import PlanError, StorageError, unknown

SCHEMA = 1
DEFINITION = "experiment.json"
RESULT, WEIGHTS = "result.json", "model.safetensors"
"""Files of a run's folder: its points, and its masked weights."""

Share = Annotated[float, Field(ge=0, le=1)]
M = TypeVar("M", bound=BaseModel)


class Value(BaseModel):
    """Base of what is read: frozen; fields that newer versions added within a schema are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(Value):
    """An evaluation on `n` examples; accuracy is a fraction."""

    accuracy: Share
    loss: float | None = None
    n: int = Field(gt=0)


class Needed(Value):
    """MACs of an input, on average over those that were measured."""

    mean: float = Field(gt=0)


class RunTime(Value):
    """What inputs need of a network whose layers decide for each; `dense`: MACs where all is computed."""

    dense: float = Field(gt=0)
    needed: Needed

    @property
    def share(self) -> float:
        """Needed over dense; deciding may take more than is left out."""
        return min(1.0, self.needed.mean / self.dense)


class Point(Value):
    """One measured state of a network.

    Attributes:
        round: updates done so far.
        moment: `trained`, `pruned` (before recovery), `recovered` or `coded` (its weights take few values);
            empty where not told.
        density, sparsity: over the prunable weights, `density_all` over all parameters; where layers decide
            for every input no weight is out, and these are shares of the MACs that an input needs on average.
        at_run_time: whether layers decide for every input.
        test, val: evaluations; None where there was none.
        params, nonzero, macs, macs_nonzero: counts.
        bytes_dense: every parameter as float32; `bytes_stored`: as written, compressed.
        layers: density of each prunable layer.
        empty, unreachable: collapsed layers.
        seconds: since the run began.
    """

    round: int
    moment: str = ""
    density: Share
    sparsity: Share
    density_all: Share | None = None
    test: Score | None = None
    val: Score | None = None
    params: int
    nonzero: int
    macs: int | None = None
    macs_nonzero: int | None = None
    bytes_dense: int | None = None
    bytes_stored: int | None = None
    layers: dict[str, Share] = Field(default_factory=dict)
    empty: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    seconds: float | None = None
    at_run_time: bool = False

    @model_validator(mode="before")
    @classmethod
    def _needed(cls, plain: Any) -> Any:
        """Density by what inputs need, where layers decide; nothing is left out before the first update."""
        if not isinstance(plain, dict) or "run_time" not in plain or not plain.get("round"):
            return plain
        work = plain[
            "run_time"
        ]  # None where there was nothing to measure on: units that stay count
        share = plain.get("density") if work is None else RunTime.model_validate(work).share
        return {**plain, "at_run_time": True, "density": share, "sparsity": 1 - (share or 0)}

    @property
    def whole(self) -> bool:
        """Whether nothing was done to the network yet: all weights are there, none takes few values."""
        return self.density == 1 and self.moment != "coded" and not self.at_run_time

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Layers without kept weights or on no path from input to output."""
        return tuple(dict.fromkeys(self.empty + self.unreachable))


class RunResult(Value):
    """One finished run: a configuration, a seed, and what was measured."""

    digest: str
    seed: int
    experiment: str
    label: str
    method: str
    config: dict[str, Any]
    points: tuple[Point, ...] = Field(min_length=1)
    seconds: float
    versions: dict[str, str] = Field(default_factory=dict)
    git: dict[str, Any] | None = None
    machine: dict[str, Any] = Field(default_factory=dict)
    started: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The run's folder below the root: digest and seed."""
        return f"{self.digest}/{self.seed}"


@dataclass(frozen=True)
class Unfinished:
    """A run that was planned or begun and has no result."""

    digest: str
    seed: int
    label: str
    started: bool


@dataclass(frozen=True)
class Analysis:
    """The output of an analysis as it was written: plain data whose form `kind` names."""

    path: Path
    plain: dict[str, Any]

    @property
    def kind(self) -> str:
        """`collapse`, `connectivity`, `overlap`, …"""
        return str(self.plain.get("kind", ""))


@dataclass(frozen=True)
class Results:
    """Everything a results folder holds."""

    root: Path
    runs: tuple[RunResult, ...]
    unfinished: tuple[Unfinished, ...] = ()
    analyses: tuple[Analysis, ...] = ()
    scale: float = 1.0


def load_results(root: str | Path, experiment: str | None = None) -> Results:
    """Every finished run below `root`, what is unfinished, and the analyses.

    Args:
        root: the results folder.
        experiment: the study to read; may be left out where the folder holds only one.

    Raises:
        StorageError: a folder or file that is missing, corrupted or of a newer version.
    """
    root = Path(root)
    if not root.is_dir():
        raise StorageError(f"there is no results folder '{root}'; run an experiment first")
    found = [read_result(path) for path in sorted(root.glob(f"*/*/{RESULT}"))]
    study = _study(found, experiment)
    runs = sorted((run for run in found if run.experiment == study), key=_order)
    plan = _definition(root)
    missing = tuple(_unfinished(root, runs, plan))
    return Results(root, tuple(runs), missing, analyses(root), float(plan.get("scale", 1.0)))


def read_result(path: str | Path) -> RunResult:
    """One `result.json`, checked; it must lie in the folder of its digest and seed."""
    path = Path(path)
    result = build(RunResult, read_json(path), path)
    if (result.digest[:16], str(result.seed)) != (path.parent.parent.name, path.parent.name):
        raise StorageError(
            f"'{path}' is the result of run {result.name} and lies in the wrong folder; move it back"
        )
    return result


def analyses(root: Path) -> tuple[Analysis, ...]:
    """Every analysis below `root`, by file name."""
    paths = sorted((root / "analyses").glob("*.json"))
    return tuple(Analysis(path, read_json(path)) for path in paths)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a schema this version knows."""
    try:
        plain = json.loads(read_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StorageError(
            f"'{path}' is damaged: {error}; delete it and run the experiment again"
        ) from error
    if not isinstance(plain, dict):
        raise StorageError(f"'{path}' is damaged: it holds no JSON object; delete it and run again")
    _check_schema(plain.get("schema", SCHEMA), path)
    return plain


def build(model: type[M], plain: dict[str, Any], path: Path) -> M:
    """`plain` as a `model`, or a `StorageError` that names the file and the first wrong field."""
    try:
        return model(**plain)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise StorageError(
            f"'{path}' is damaged: {where}: {first['msg']}; delete it and run the experiment again"
        ) from None


def _check_schema(schema: Any, path: Path) -> None:
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StorageError(
            f"'{path}' was written by a newer version (schema {schema}; this one reads up to "
            f"{SCHEMA}); upgrade secateur"
        )


def _study(found: list[RunResult], experiment: str | None) -> str | None:
    """Which study to read: the named one, or the only one."""
    names = list(dict.fromkeys(run.experiment for run in found))
    if experiment is None and len(names) > 1:
        raise PlanError(f"the folder holds several experiments; name one of: {', '.join(names)}")
    if experiment is not None and experiment not in names:
        raise unknown("experiment", experiment, names)
    return experiment or (names[0] if names else None)


def _order(run: RunResult) -> tuple[str, str, int]:
    return run.started, run.digest, run.seed


def _definition(root: Path) -> dict[str, Any]:
    """The study as the runner wrote it down, or nothing where the runs were made one by one."""
    path = root / DEFINITION
    return read_json(path) if path.exists() else {}


def _unfinished(root: Path, runs: list[RunResult], plan: dict[str, Any]) -> Iterator[Unfinished]:
    """What was planned, or begun, and is not among the finished runs."""
    done = {(run.digest, run.seed) for run in runs}
    for digest, seed, label in dict.fromkeys([*_planned(plan), *_expected(runs), *_begun(root)]):
        if (digest, seed) not in done and not (root / digest / str(seed) / RESULT).exists():
            done.add((digest, seed))
            yield Unfinished(digest, seed, label, (root / digest / str(seed)).is_dir())


def _planned(plan: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Runs of the study's definition."""
    if "study" in plan:
        from .config import Experiment

        for planned in Experiment(**plan["study"]).planned(plan.get("scale", 1.0)):
            yield planned.config.digest, planned.seed, planned.label


def _expected(runs: list[RunResult]) -> Iterator[tuple[str, int, str]]:
    """Every seed of the study for every configuration that has a result."""
    for run in runs:
        for seed in run.seeds:
            yield run.digest, seed, run.label


def _begun(root: Path) -> Iterator[tuple[str, int, str]]:
    """Runs that have a folder."""
    for path in sorted(root.glob("*/config.json")):
        label = str(read_json(path).get("recipe", {}).get("method", path.parent.name))
        for folder in sorted(path.parent.iterdir()):
            if folder.is_dir() and folder.name.isdigit():
                yield path.parent.name, int(folder.name), label
