"""Put the report of a language-model study together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .. import notation as say
from ..blocks import Block, Card, Column, Document, Facts, Section, Table
from ..blocks import Row as Line
from ..document import LABELS
from ..document import foot as foot_of
from ..words import Words
from .figures import pareto_figure, removed_figure
from .rows import Row, Rows
from .tables import MIB, goals_table, main_table, more_table, samples_table, tasks_table


def compose(rows: Rows, words: Words) -> Document:
    """The whole report as plain values."""
    study = rows.study
    sections = (section for section in _sections(rows, words) if section.blocks)
    return Document(
        lang=words.lang,
        title=study.name,
        kicker=words("lm.kicker"),
        subtitle=words("lm.subtitle", model=study.model.source, data=study.data),
        lead=_lead(rows, words),
        cards=_cards(rows, words),
        warnings=tuple(_warnings(rows, words)),
        sections=tuple(sections),
        missing=(),
        configs=_configs(rows, words),
        labels={key: words(key) for key in LABELS} | {"foot": foot_of(words)},
    )


def _sections(rows: Rows, words: Words) -> Iterator[Section]:
    def made(*blocks: Block | None) -> tuple[Block, ...]:
        return tuple(block for block in blocks if block is not None)

    yield Section("results", words("lm.results.title"), made(main_table(rows, words)))
    if rows.winner is not None:
        pareto = pareto_figure(rows, words)
        yield Section("goals", words("lm.goals.title"), made(goals_table(rows, words), pareto))
        yield Section("winner", words("lm.winner.title"), (_winner(rows, rows.winner, words),))
        yield Section("samples", words("lm.samples.title"), made(samples_table(rows, words)))
        yield Section("removed", words("lm.removed.title"), made(removed_figure(rows, words)))
    about = (_about(rows, words), more_table(rows, words), *made(tasks_table(rows, words)))
    yield Section("about", words("lm.about.title"), about)
    yield Section("appendix", words("appendix.title"), (_runs(rows, words),))


def _lead(rows: Rows, words: Words) -> str:
    winner = rows.winner
    if winner is None:
        return words("lm.lead.none")
    fewer = 1 - winner.run["parameters"] / rows.original.run["parameters"]
    return words(
        "lm.lead",
        id=winner.entry.id,
        parameters=say.percent(fewer, 1),
        rouge=say.percent(winner.verdict.rouge, 1),
        bleu=say.percent(winner.verdict.bleu, 1),
        n=winner.run["test"]["examples"],
        met=sum(winner.verdict.met.values()),
        goals=len(winner.verdict.met),
    )


def _cards(rows: Rows, words: Words) -> tuple[Card, ...]:
    test = rows.original.run["test"]
    values = {
        "dense": f"{test['rougeL']['f1']:.3f}",
        "copy": f"{rows.original.run['copy']['rougeL']:.3f}",
        "winner": rows.winner.entry.id if rows.winner else "",
        "runs": str(len(rows.all)),
        "time": say.duration(sum(r["seconds"] for r in rows.results.runs.values()), words),
    }
    return tuple(Card(value, words(f"lm.card.{name}")) for name, value in values.items() if value)


def _warnings(rows: Rows, words: Words) -> Iterator[str]:
    test = rows.original.run["test"]
    dense, copy = test["rougeL"]["f1"], rows.original.run["copy"]["rougeL"]
    if rows.results.missing:
        yield words("lm.warn.unfinished", names=", ".join(rows.results.missing))
    if rows.results.scale < 1:
        yield words("lm.warn.scale", scale=f"{rows.results.scale:g}")
    if dense <= copy:
        yield words("lm.warn.copy", dense=f"{dense:.3f}", copy=f"{copy:.3f}")
    if rows.study.model.source == "small":
        yield words("lm.warn.small")
    yield words("lm.warn.test", n=test["examples"])
    machine, threads = rows.original.run["machine"], rows.original.run["response"]["threads"]
    device = f"{machine['processor']} ({machine['device']})"
    yield words("lm.warn.time", device=device, threads=threads)


def _winner(rows: Rows, winner: Row, words: Words) -> Facts:
    original, run, chosen = rows.original.run, winner.run, rows.chosen_by(winner)
    reason = words(
        "lm.winner.reason",
        met=sum(chosen.met.values()),
        goals=len(chosen.met),
        n=run["validation"]["examples"],
        quality=say.percent(chosen.quality, 1),
    )
    options = ", ".join(f"{k} = {v}" for k, v in winner.entry.options.items())
    ratio = run["response"]["ratio"]
    time = words(
        "lm.change.interval",
        change=say.signed(100 * (ratio["mean"] - 1), 1, plus=True),
        low=say.signed(100 * (ratio["low"] - 1), 1, plus=True),
        high=say.signed(100 * (ratio["high"] - 1), 1, plus=True),
    )
    weights = (original["memory"]["weights"] / MIB, run["memory"]["weights"] / MIB)
    test = (original["test"], run["test"])
    level = run["level"]
    forms = {"A": "lm.winner.form.a", "masks": "lm.winner.form.masks"}
    form = words(forms.get(level, "lm.winner.form.other"), level=level)
    values = {
        "run": winner.entry.id,
        "why": reason,
        "options": options,
        "parameters": _change(original["parameters"], run["parameters"], ",d", words),
        "memory": f"{_change(*weights, ',.1f', words)} MiB",
        "time": time,
        "rouge": _change(test[0]["rougeL"]["f1"], test[1]["rougeL"]["f1"], ".4f", words),
        "bleu": _change(test[0]["bleu"]["score"], test[1]["bleu"]["score"], ".4f", words),
        "form": form,
    }
    return Facts(tuple((words(f"lm.winner.{name}"), value) for name, value in values.items()))


def _change(before: float, after: float, form: str, words: Words) -> str:
    change = say.signed(100 * (after / before - 1), 1, plus=True) if before else say.NONE
    return words("lm.change", before=format(before, form), after=format(after, form), change=change)


def _about(rows: Rows, words: Words) -> Facts:
    study, run = rows.study, rows.original.run
    questions = words(
        "lm.about.questions.value",
        data=study.data,
        calibration=run["config"]["asking"]["calibration"],
        validation=run["validation"]["examples"],
        test=run["test"]["examples"],
    )
    machine = ", ".join(str(run["machine"][k]) for k in ("processor", "platform", "device"))
    values = {
        "model": f"{study.model.source} ({say.count(run['parameters'])})",
        "questions": questions,
        "method": f"{study.method} {_options(study.options)}",
        "machine": machine,
    }
    return Facts(tuple((words(f"lm.about.{name}"), value) for name, value in values.items()))


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v}" for k, v in options.items())


def _runs(rows: Rows, words: Words) -> Table:
    columns = (
        Column(words("lm.column.id"), "left"),
        Column(words("lm.column.digest"), "left"),
        Column(words("column.started"), "left"),
        Column(words("column.time")),
        Column(words("column.commit"), "left"),
    )
    lines = tuple(
        Line(
            (
                row.entry.id,
                row.name,
                say.moment(row.run["started"]),
                say.duration(row.run["seconds"], words),
                str((row.run["git"] or {}).get("commit", say.NONE))[:10],
            ),
            (row.name,),
        )
        for row in rows.all
    )
    return Table("runs", words("table.runs"), columns, lines, words("table.runs.caption"))


def _configs(rows: Rows, words: Words) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            words("appendix.config", digest=row.entry.digest, label=row.entry.id),
            json.dumps(row.run["config"], indent=2, ensure_ascii=False),
        )
        for row in rows.all
    )
