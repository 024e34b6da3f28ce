"""What a reader must know before trusting the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from ..experiments.results import RunResult
from ..experiments.statistics import final_points
from . import notation as say
from .about import seeds
from .study import Study
from .words import Words

SHOWN = 5


def notices(study: Study, words: Words) -> tuple[str, ...]:
    """Every warning that applies, gravest first."""
    checks: tuple[Callable[[Study, Words], Iterator[str]], ...] = (
        _unfinished, _unevaluated, _metric, _diverged, _collapsed, _seeds, _scale, _sample,
        _versions, _devices, _dirty,
    )  # fmt: skip
    return tuple(text for check in checks for text in check(study, words))


def _some(names: list[str], words: Words) -> str:
    """The first few, and how many more."""
    more = [words("warn.more", n=len(names) - SHOWN)] if len(names) > SHOWN else []
    return ", ".join([*names[:SHOWN], *more])


def _unfinished(study: Study, words: Words) -> Iterator[str]:
    left = study.results.unfinished
    if left:
        names = [words("warn.run", label=run.label, seed=run.seed) for run in left]
        all = len(left) + len(study.runs)
        yield words("warn.unfinished", missing=len(left), all=all, names=_some(names, words))


def _unevaluated(study: Study, words: Words) -> Iterator[str]:
    bare = [run for run in study.runs if not final_points(run, study.metric)]
    if bare:
        names = [words("warn.run", label=run.label, seed=run.seed) for run in bare]
        yield words(
            "warn.unevaluated", metric=words(f"metric.{study.metric}"), names=_some(names, words)
        )


def _metric(study: Study, words: Words) -> Iterator[str]:
    if study.metric == "val":
        yield words("warn.validation")


def _diverged(study: Study, words: Words) -> Iterator[str]:
    for run in study.runs:
        for point in final_points(run, study.metric).values():
            loss = getattr(point, study.metric).loss
            if loss is not None and not math.isfinite(loss):
                where = say.sparsity(point.sparsity)
                yield words("warn.diverged", label=run.label, sparsity=where, seed=run.seed)


def _collapsed(study: Study, words: Words) -> Iterator[str]:
    for series in study.series:
        for point in series.pruned:
            layers = dict.fromkeys(name for p in point.points.values() for name in p.collapsed)
            if layers:
                names, where = _some(list(layers), words), say.sparsity(point.sparsity.mean)
                yield words(
                    "warn.collapsed", label=series.label, sparsity=where, n=len(layers), names=names
                )


def _seeds(study: Study, words: Words) -> Iterator[str]:
    every = seeds(study)
    if len(every) == 1:
        yield words("warn.one_seed", seed=every[0])
        return
    counts = {series.label: {run.seed for run in series.runs} for series in study.series}
    single = [label for label, found in counts.items() if len(found) == 1]
    if single:
        yield words("warn.one_seed_some", labels=", ".join(single))
    if any(len(found) == 2 for found in counts.values()):
        yield words("warn.two_seeds")


def _scale(study: Study, words: Words) -> Iterator[str]:
    if study.results.scale != 1:
        yield words("warn.scale", scale=say.three(study.results.scale))
    for share in dict.fromkeys(_fraction(run) for run in study.runs):
        if share != 1:
            yield words("warn.fraction", percent=say.three(100 * share))


def _fraction(run: RunResult) -> float:
    data = run.config.get("data")
    return float(data.get("fraction", 1)) if isinstance(data, dict) else 1.0


def _sample(study: Study, words: Words) -> Iterator[str]:
    """The binomial uncertainty 1.96 · √(p (1 − p) / n) at the dense (or best) accuracy."""
    scores = [
        getattr(p, study.metric) for r in study.runs for p in final_points(r, study.metric).values()
    ]
    sizes = sorted({score.n for score in scores})
    metric = words(f"metric.{study.metric}")
    if len(sizes) > 1:
        yield words("warn.test_sizes", metric=metric, sizes=", ".join(map(say.count, sizes)))
    elif sizes:
        base = study.baseline
        p = base.accuracy.mean if base else max(score.accuracy for score in scores)
        error = say.percent(1.96 * math.sqrt(p * (1 - p) / sizes[0]))
        n, top = say.count(sizes[0]), say.percent(p)
        yield words("warn.test_size", n=n, metric=metric, accuracy=top, error=error)


def _versions(study: Study, words: Words) -> Iterator[str]:
    packages = dict.fromkeys(name for run in study.runs for name in run.versions)
    for package in packages:
        found = sorted({run.versions.get(package, say.NONE) for run in study.runs})
        if len(found) > 1:
            yield words("warn.versions", package=package, versions=", ".join(found))


def _devices(study: Study, words: Words) -> Iterator[str]:
    found = dict.fromkeys(
        str(run.machine.get("processor") or run.machine.get("device") or say.NONE)
        for run in study.runs
    )
    if len(found) > 1:
        yield words("warn.devices", devices=", ".join(found))


def _dirty(study: Study, words: Words) -> Iterator[str]:
    dirty = sum(1 for run in study.runs if run.git and run.git.get("dirty"))
    if dirty:
        yield words("warn.dirty", n=dirty, all=len(study.runs))
