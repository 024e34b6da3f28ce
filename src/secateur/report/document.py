"""Put a report together: sections that have data, notes for those that have none."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..experiments.statistics import by_digest
from . import about
from . import notation as say
from .analysed import KINDS, Collapse, Connectivity, OverlapMatrix, Sensitivity, Transfer, of_kind
from .blocks import Block, Card, Column, Document, Row, Section, Table
from .figures.collapse import collapse
from .figures.connectivity import connectivity
from .figures.curves import curves
from .figures.layers import layers
from .figures.overlap import overlap
from .figures.sensitivity import sensitivity
from .figures.transfer import transfer
from .notices import notices
from .study import Study
from .tables import efficiency_table, main_table, network, round_tables, spec
from .words import Words

LABELS = ("warn.title", "contents", "missing.title", "figure.data")


def compose(study: Study, words: Words) -> Document:
    """The whole report as plain values."""
    sections = tuple(section for section in _sections(study, words) if section.blocks)
    present = {section.id for section in sections} | ({"curves"} if study.series else set())
    return Document(
        lang=words.lang,
        title=study.name,
        kicker=words("head.kicker"),
        subtitle=words("head.subtitle", network=network(study), data=_data(study)),
        lead=_lead(study, words),
        cards=_cards(study, words),
        warnings=notices(study, words),
        sections=sections,
        missing=tuple(_missing(present, words)),
        configs=_configs(study, words),
        labels={key: words(key) for key in LABELS} | {"foot": foot(words)},
    )


def _sections(study: Study, words: Words) -> Iterator[Section]:
    curve = curves(study, words)
    tables = (main_table(study, words), efficiency_table(study, words))
    blocks: tuple[Block, ...] = (curve, *tables) if curve else tables
    yield Section("results", words("results.title"), blocks)
    yield about.section(study, words)
    yield Section("rounds", words("rounds.title"), round_tables(study, words))
    map = layers(study, words)
    yield Section("layers", words("layers.title"), (map,) if map else ())
    yield from _analyses(study, words)
    yield Section("appendix", words("appendix.title"), (_runs(study, words),))


def _analyses(study: Study, words: Words) -> Iterator[Section]:
    results, palette = study.results, study.palette
    blocks: dict[str, list[Block]] = {kind: [] for kind in KINDS}
    for number, cut in enumerate(of_kind(results, Collapse)):
        blocks["collapse"] += collapse(cut, number, palette, words)
    for number, matrix in enumerate(of_kind(results, OverlapMatrix)):
        blocks["overlap"].append(overlap(matrix, number, words))
    for number, grid in enumerate(of_kind(results, Sensitivity)):
        blocks["sensitivity"].append(sensitivity(grid, number, words))
    for number, path in enumerate(of_kind(results, Connectivity)):
        blocks["connectivity"] += connectivity(path, number, words)
    for number, rows in enumerate(of_kind(results, Transfer)):
        blocks["transfer"].append(transfer(rows, number, words))
    for kind, found in blocks.items():
        yield Section(kind, words(f"{kind}.title"), tuple(found))


def _missing(present: set[str], words: Words) -> Iterator[str]:
    """Why each absent section is absent."""
    for id in ("curves", "rounds", "layers"):
        if id not in present:
            yield words(f"missing.{id}")
    for kind in KINDS:
        if kind not in present:
            yield words("missing.analysis", title=words(f"{kind}.title"), kind=kind)


def _data(study: Study) -> str:
    return ", ".join(dict.fromkeys(spec(run.config.get("data")) for run in study.runs))


def _lead(study: Study, words: Words) -> str:
    """The finding in a sentence."""
    if study.baseline is None:
        return words("head.lead.no_dense")
    dense, best = say.percent(study.baseline.accuracy.mean), study.best()
    said = "head.lead"
    if best is None:
        best, said = study.best(at_run_time=True), "head.lead.at_run_time"
    if best is None:
        pruned = any(series.sparse for series in study.series)
        return words("head.lead.none" if pruned else "head.lead.only_dense", dense=dense)
    series, point = best
    return words(
        said,
        dense=dense,
        label=series.label,
        sparsity=say.sparsity(point.sparsity.mean),
        accuracy=say.percent(point.accuracy.mean),
        factor=say.three(1 / point.density.mean),
    )


def _cards(study: Study, words: Words) -> tuple[Card, ...]:
    best = study.best()
    values = {
        "dense": f"{say.percent(study.baseline.accuracy.mean)} %" if study.baseline else "",
        "best": f"{say.sparsity(best[1].sparsity.mean)} %" if best else "",
        "runs": _finished(study),
        "seeds": str(len(about.seeds(study))),
        "time": say.duration(about.total_time(study), words),
    }
    return tuple(Card(value, words(f"card.{name}")) for name, value in values.items() if value)


def _finished(study: Study) -> str:
    done, left = len(study.runs), len(study.results.unfinished)
    return f"{done} / {done + left}" if left else str(done)


def _runs(study: Study, words: Words) -> Table:
    names = ("run", "method", "started", "time", "device", "commit")
    columns = tuple(Column(words(f"column.{n}"), "right" if n == "time" else "left") for n in names)
    rows = tuple(
        Row(
            (
                run.name,
                run.label,
                say.moment(run.started),
                say.duration(run.seconds, words),
                str(run.machine.get("device", say.NONE)),
                str((run.git or {}).get("commit", say.NONE))[:10],
            ),
            (run.name,),
        )
        for run in study.runs
    )
    return Table("runs", words("table.runs"), columns, rows, words("table.runs.caption"))


def _configs(study: Study, words: Words) -> tuple[tuple[str, str], ...]:
    """Title and full configuration, as JSON, of every digest."""
    return tuple(
        (
            words("appendix.config", digest=digest, label=runs[0].label),
            json.dumps(runs[0].config, indent=2, ensure_ascii=False),
        )
        for digest, runs in by_digest(study.runs).items()
    )


def foot(words: Words) -> str:
    """What stands below every report."""
    from .. import __version__

    return words("foot", version=__version__)
