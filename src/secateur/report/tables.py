"""Tables of accuracies and sizes, straight from the study's points."""

from __future__ import annotations

from collections.abc import Callable

from ..experiments.results import Point
from ..experiments.statistics import CurvePoint, Summary
from . import notation as say
from .blocks import Column, Row, Table
from .study import Series, Study
from .words import Words

FRONT = "\N{NO-BREAK SPACE}◆"


def network(study: Study) -> str:
    """The networks' names, as the configurations give them."""
    names = dict.fromkeys(spec(run.config.get("network")) for run in study.runs)
    return ", ".join(names)


def spec(value: object) -> str:
    """The name in `{"spec": name}` or `{"source": name}`, or the value itself."""
    if isinstance(value, dict):
        value = value.get("spec") or value.get("source") or value.get("name") or value
    return str(value)


def main_table(study: Study, words: Words) -> Table:
    """Every method at the end of its runs, the dense network first."""
    heads = ["sparsity", "density", "top1_ci", "change", "seeds", "nonzero", "macs", "dense_mb"]
    heads += ["stored_mb", "time"]
    columns = _columns(words, "method", heads)
    dense = study.dense_labels(words("method.dense"))
    rows = [_main_row(study, dense[key], None, p, words) for key, p in study.dense.items()]
    rows += [_main_row(study, s.label, s, p, words) for s in study.series for p in s.finals]
    caption = words("table.main.caption") + at_run_time(study, words)
    return Table("main", words("table.main"), columns, tuple(rows), caption)


def at_run_time(study: Study, words: Words) -> str:
    """What a caption adds where layers decide for every input."""
    return " " + words("table.at_run_time") if study.at_run_time else ""


def named(label: str, point: CurvePoint, words: Words) -> str:
    """A series' label in the row of a point, which says where densities are not of weights."""
    return words("method.at_run_time", label=label) if point.at_run_time else label


def _main_row(
    study: Study, label: str, series: Series | None, point: CurvePoint, words: Words
) -> Row:
    change = study.change(series, point) if series else None
    cells = (
        named(label, point, words) + (FRONT if id(point) in study.front else ""),
        *_place(point),
        say.accuracy(point.accuracy),
        say.change(change),
        str(point.accuracy.n),
        *_sizes(point),
        say.duration(_time(point), words),
    )
    return Row(cells, point.names, series.slot if series else None)


def _place(point: CurvePoint) -> tuple[str, str]:
    return say.sparsity(point.sparsity.mean), say.density(point.density.mean)


def _sizes(point: CurvePoint) -> tuple[str, ...]:
    fields = ("nonzero", "macs_nonzero", "bytes_dense", "bytes_stored")
    return tuple(say.millions(point.mean(field)) for field in fields)


def _time(point: CurvePoint) -> float:
    """Mean time of the runs; of the state itself where the run went on after it."""
    times = [_seconds(run.seconds, point.points[seed]) for seed, run in point.runs.items()]
    return sum(times) / len(times)


def _seconds(whole: float, point: Point) -> float:
    return whole if point.seconds is None else point.seconds


def efficiency_table(study: Study, words: Words) -> Table:
    """Model, sparsity, method, top-1, parameters, size: as in published comparisons."""
    columns = (
        Column(words("column.model"), "left"),
        Column(words("column.sparsity")),
        Column(words("column.method"), "left"),
        *(Column(words(f"column.{name}")) for name in ("top1", "params", "size")),
    )
    dense = study.dense_labels(words("method.dense"))
    rows = [_efficiency_row(dense[key], None, point, words) for key, point in study.dense.items()]
    for series in study.series:
        picked = [study.near_dense(series), max(series.pruned, key=lambda p: p.sparsity.mean)]
        chosen = {id(point): point for point in picked if point is not None}
        rows += [_efficiency_row(series.label, series, p, words) for p in chosen.values()]
    caption = words("table.efficiency.caption") + at_run_time(study, words)
    return Table("efficiency", words("table.efficiency"), columns, tuple(rows), caption)


def _efficiency_row(label: str, series: Series | None, point: CurvePoint, words: Words) -> Row:
    nonzero = point.mean("nonzero")
    cells = (
        spec(next(iter(point.runs.values())).config.get("network")),
        say.sparsity(point.sparsity.mean),
        named(label, point, words),
        say.accuracy(point.accuracy),
        say.millions(nonzero),
        say.millions(None if nonzero is None else 4 * nonzero),
    )
    return Row(cells, point.names, series.slot if series else None, mark=2)


def round_tables(study: Study, words: Words) -> tuple[Table, ...]:
    """One table for each method with several rounds."""
    iterative = [series for series in study.series if series.iterative]
    return tuple(_rounds(study, series, number, words) for number, series in enumerate(iterative))


def _rounds(study: Study, series: Series, number: int, words: Words) -> Table:
    seeds = sorted({seed for point in series.curve for seed in point.points})
    before = any(_before(point) for point in series.curve)
    validated = study.metric == "test" and all(_val(point) for point in series.curve)
    columns = _round_columns(seeds, before, validated, words)
    rows = tuple(_round_row(point, seeds, before, validated) for point in series.curve)
    caption = words("table.rounds.caption", metric=words(f"metric.{study.metric}"))
    return Table(
        f"rounds-{number}", words("table.rounds", label=series.label), columns, rows, caption
    )


def _round_columns(
    seeds: list[int], before: bool, validated: bool, words: Words
) -> tuple[Column, ...]:
    names = ["round", "density", "sparsity", *(["before"] if before else []), "top1_ci"]
    heads = [words(f"column.{name}") for name in names]
    heads += [words("column.seed", seed=seed) for seed in seeds] if len(seeds) > 1 else []
    heads += [words("column.val")] if validated else []
    return tuple(Column(head) for head in heads)


def _round_row(point: CurvePoint, seeds: list[int], before: bool, validated: bool) -> Row:
    sparsity, density = _place(point)
    cells = [str(point.round), density, sparsity]
    if before:
        cells.append(_mean(_before(point)))
    cells.append(say.accuracy(point.accuracy))
    if len(seeds) > 1:
        cells += [say.percent(point.by_seed.get(seed)) for seed in seeds]
    if validated:
        cells.append(_mean(_val(point)))
    return Row(tuple(cells), point.names)


def _mean(values: list[float]) -> str:
    return say.percent(Summary(tuple(values)).mean) if values else say.NONE


def _before(point: CurvePoint) -> list[float]:
    """Accuracies of the same round as it was pruned, before it was recovered; all seeds or none."""
    return _all(point, lambda run_point: _pruned(point, *run_point))


def _pruned(point: CurvePoint, seed: int, after: Point) -> float | None:
    for other in point.runs[seed].points:
        same = other.round == after.round and other is not after and other.moment == "pruned"
        score = getattr(other, point.metric)
        if same and score is not None:
            return float(score.accuracy)
    return None


def _val(point: CurvePoint) -> list[float]:
    return _all(point, lambda item: item[1].val.accuracy if item[1].val else None)


def _all(point: CurvePoint, read: Callable[[tuple[int, Point]], float | None]) -> list[float]:
    values = [read(item) for item in point.points.items()]
    return [] if any(value is None for value in values) else [v for v in values if v is not None]


def _columns(words: Words, first: str, others: list[str]) -> tuple[Column, ...]:
    return (
        Column(words(f"column.{first}"), "left"),
        *(Column(words(f"column.{name}")) for name in others),
    )
