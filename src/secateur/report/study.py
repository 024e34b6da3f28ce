"""Results as a report sees them: one series per method, and the dense network they compare with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import StorageError
from ..experiments.results import Results, RunResult, load_results
from ..experiments.statistics import (
    CurvePoint,
    Metric,
    Summary,
    by_digest,
    curve,
    differing,
    flat,
    paired,
    pareto,
)
from .style import Palette

BUDGET = {"density", "sparsity"}
"""Settings that place a run on its method's curve; any other difference makes another curve."""


@dataclass(frozen=True)
class Series:
    """One method with one way of setting it up: a curve.

    Attributes:
        label: unique in the study.
        method: catalogue name.
        slot: its colour and marker in every figure.
        runs: every configuration (density) and seed.
        curve: points over seeds, dense first.
    """

    label: str
    method: str
    slot: int
    runs: tuple[RunResult, ...]
    curve: tuple[CurvePoint, ...]

    @cached_property
    def pruned(self) -> tuple[CurvePoint, ...]:
        """The points at which something is pruned, or weights take few values."""
        return tuple(point for point in self.curve if not point.whole)

    @cached_property
    def sparse(self) -> tuple[CurvePoint, ...]:
        """The points below density 1."""
        return tuple(point for point in self.pruned if point.density.mean < 1)

    @cached_property
    def finals(self) -> tuple[CurvePoint, ...]:
        """The pruned point of the last round of each configuration."""
        last: dict[str, CurvePoint] = {}
        for point in sorted(self.pruned, key=lambda point: point.round):
            last[next(iter(point.runs.values())).digest] = point
        return tuple(sorted(last.values(), key=lambda point: -point.density.mean))

    @property
    def iterative(self) -> bool:
        """Whether any configuration was evaluated in more than one round after pruning."""
        return len(self.pruned) > len(self.finals)

    @property
    def setting(self) -> str:
        """What its dense network was made with."""
        return setting(self.runs[0])


@dataclass(frozen=True)
class Study:
    """Everything the report draws on.

    Attributes:
        results: as read.
        metric: `test`, or `val` where any run lacks a test evaluation.
        series: the methods, in the order they were run.
        dense: setting -> the dense network's point.
        palette: label -> slot, for labels of analyses too.
    """

    results: Results
    metric: Metric
    series: tuple[Series, ...]
    dense: dict[str, CurvePoint]
    palette: Palette

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.results.runs[0].experiment

    @property
    def runs(self) -> tuple[RunResult, ...]:
        """Every finished run."""
        return self.results.runs

    @property
    def baseline(self) -> CurvePoint | None:
        """The dense network most methods compare with: that of the first run which has one."""
        known = (self.dense.get(setting(run)) for run in self.runs)
        return next((point for point in known if point is not None), None)

    def dense_labels(self, word: str) -> dict[str, str]:
        """Setting -> what to call its dense network: `word`, and how settings differ if they do."""
        configs = [json.loads(key) for key in self.dense]
        names = differing(configs)
        return {
            key: _labelled(word, config, names)
            for key, config in zip(self.dense, configs, strict=True)
        }

    def change(self, series: Series, point: CurvePoint) -> Summary | None:
        """Accuracy minus that of the dense network with the same seed."""
        dense = self.dense.get(series.setting)
        return None if dense is None else paired(point.by_seed, dense.by_seed)

    @cached_property
    def front(self) -> set[int]:
        """Ids of the final points no other final point beats in sparsity (of weights) and accuracy."""
        every = [point for series in self.series for point in series.finals]
        finals = [point for point in every if not point.at_run_time]
        marks = pareto([(point.sparsity.mean, point.accuracy.mean) for point in finals])
        return {id(point) for point, mark in zip(finals, marks, strict=True) if mark}

    def best(
        self, loss: float = 0.01, at_run_time: bool = False
    ) -> tuple[Series, CurvePoint] | None:
        """The sparsest network of all that loses at most `loss` accuracy against the dense one.

        Sparse in weights, or with `at_run_time` in MACs, of those whose layers decide for every input.
        """
        near = [
            (s, p) for s in self.series if s.sparse and (p := self.near_dense(s, loss)) is not None
        ]
        near = [pair for pair in near if pair[1].at_run_time == at_run_time]
        return max(near, key=lambda pair: pair[1].sparsity.mean) if near else None

    @property
    def at_run_time(self) -> bool:
        """Whether layers of any network here decide for every input."""
        return any(point.at_run_time for series in self.series for point in series.pruned)

    def near_dense(self, series: Series, loss: float = 0.01) -> CurvePoint | None:
        """The sparsest network of a series that loses at most `loss` accuracy."""
        good = [
            p for p in series.pruned if (c := self.change(series, p)) and c.mean >= -loss - 1e-9
        ]
        return max(good, key=lambda point: point.sparsity.mean) if good else None


def setting(run: RunResult) -> str:
    """What decides the dense training of a run: network, data and training."""
    parts = {key: run.config.get(key) for key in ("network", "data", "training")}
    return json.dumps(parts, sort_keys=True, default=str)


def open_study(root: str | Path, experiment: str | None = None) -> Study:
    """Read a results folder; one without a finished run is an error."""
    results = load_results(root, experiment)
    if not results.runs:
        left = f"; {len(results.unfinished)} are unfinished" if results.unfinished else ""
        raise StorageError(f"'{root}' holds no finished run{left}; run an experiment first")
    return make_study(results)


def make_study(results: Results) -> Study:
    """Sort runs into series and find the dense network of each setting."""
    metric: Metric = "test" if all(_tested(run) for run in results.runs) else "val"
    palette = Palette()
    curves = [(label, runs, curve(runs, metric)) for label, runs in _grouped(results.runs)]
    pruned = [one for one in curves if any(not point.whole for point in one[2])]
    palette.reserve((label, runs[0].method) for label, runs, _ in pruned)
    series = tuple(
        Series(label, runs[0].method, palette.slot(label, runs[0].method), runs, points)
        for label, runs, points in pruned
    )
    return Study(results, metric, series, _dense(results.runs, metric), palette)


def _tested(run: RunResult) -> bool:
    return run.points[-1].test is not None


def _grouped(runs: Sequence[RunResult]) -> list[tuple[str, tuple[RunResult, ...]]]:
    """(label, runs) of each series; runs that differ in more than the density are told apart."""
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.label, run.method), []).append(run)
    return [part for (label, _), members in groups.items() for part in _split(label, members)]


def _split(label: str, runs: Sequence[RunResult]) -> Iterable[tuple[str, tuple[RunResult, ...]]]:
    configs = [group[0].config for group in by_digest(runs).values()]
    names = [name for name in differing(configs) if name.rsplit(".", 1)[-1] not in BUDGET]
    parts: dict[str, list[RunResult]] = {}
    for run in runs:
        parts.setdefault(_labelled(label, run.config, names), []).append(run)
    for name, members in parts.items():
        yield name, tuple(members)


def _labelled(label: str, config: Mapping[str, Any], names: Sequence[str]) -> str:
    """The label with the settings that tell it from others: `SynFlow (rounds=1)`."""
    values = flat(config)
    owners = {name.rpartition(".")[0] for name in values}
    told = [
        f"{name.rsplit('.', 1)[-1]}={values.get(name, 'default')}"
        for name in names
        if name in values or name.rpartition(".")[0] in owners  # of a part that it has
    ]
    return f"{label} ({', '.join(told)})" if told else label


def _dense(runs: Sequence[RunResult], metric: Metric) -> dict[str, CurvePoint]:
    """Setting -> the dense point, from runs of `dense` where there are any for a seed."""
    groups: dict[str, list[RunResult]] = {}
    for run in sorted(runs, key=lambda run: run.method != "dense"):
        groups.setdefault(setting(run), []).append(run)
    found = {key: curve(members, metric)[:1] for key, members in groups.items()}
    return {key: points[0] for key, points in found.items() if points and points[0].whole}
