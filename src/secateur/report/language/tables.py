"""Tables of a study of a language model."""

from __future__ import annotations

from .. import notation as say
from ..blocks import Column, Table
from ..blocks import Row as Line
from ..words import Words
from .rows import Row, Rows

MIB = 2**20
MARKS = {True: "✓", False: "✗"}
MAIN = ("prune", "parameters", "memory", "rouge", "bleu", "response")
MORE = ("rouge1", "rouge2", "keyword", "exact", "perplexity", "bits", "rate", "first", "peak")
GOALS = ("rouge_kept", "bleu_kept", "time_kept", "memory_kept", "met")


def main_table(rows: Rows, words: Words, intervals: bool = True) -> Table:
    """Id, prune %, parameters, memory, ROUGE-L, BLEU, response time, notes."""
    columns = (*_columns(MAIN, words), Column(words("lm.column.note"), "left"))
    lines = tuple(
        _line(row, (*_main(row, intervals), _note(row, rows, words)))  # the note comes last
        for row in rows.all
    )
    original = rows.original.run
    caption = words(
        "lm.table.main.caption",
        n=original["test"]["examples"],
        tokens=f"{original['response']['new_tokens']:.0f}",
        samples=original["response"]["samples"],
    )
    return Table("main", words("lm.table.main"), columns, lines, caption)


def _columns(names: tuple[str, ...], words: Words) -> tuple[Column, ...]:
    heads = (Column(words(f"lm.column.{name}")) for name in names)
    return (Column(words("lm.column.id"), "left"), *heads)


def _line(row: Row, cells: tuple[str, ...]) -> Line:
    slot = row.entry.phase - 1 if row.run["layers"] else None
    return Line((row.entry.id, *cells), (row.name,), slot)


def _main(row: Row, intervals: bool) -> tuple[str, ...]:
    run, test = row.run, row.run["test"]
    time = run["response"]["answer"]
    bounds = f" ({time['low']:.3f}–{time['high']:.3f})" if intervals else ""
    return (
        say.sparsity(row.removed),
        say.count(run["parameters"]),
        f"{run['memory']['weights'] / MIB:,.1f}",
        f"{test['rougeL']['f1']:.4f}",
        f"{test['bleu']['score']:.4f}",
        f"{time['mean']:.3f}{bounds}",
    )


def _note(row: Row, rows: Rows, words: Words) -> str:
    if row is rows.original:
        return words("lm.note.original")
    notes = [row.entry.method or "", row.entry.note]
    if row.entry.id in rows.bests:
        notes.append(words("lm.note.best", phase=rows.bests[row.entry.id]))
    if row is rows.winner:
        notes.append(words("lm.note.winner"))
    return "; ".join(note for note in notes if note)


def more_table(rows: Rows, words: Words) -> Table:
    """What else was measured."""
    perplexity = rows.original.run["perplexity"]
    caption = words(
        "lm.table.more.caption", tokens=say.count(perplexity["tokens"]), length=perplexity["length"]
    )
    lines = tuple(_line(row, _more(row)) for row in rows.all)
    return Table("more", words("lm.table.more"), _columns(MORE, words), lines, caption)


def _more(row: Row) -> tuple[str, ...]:
    test, response = row.run["test"], row.run["response"]
    return (
        f"{test['rouge1']['f1']:.4f}",
        f"{test['rouge2']['f1']:.4f}",
        say.percent(test["keyword"], 1),
        say.percent(test["exact"], 1),
        say.three(row.run["perplexity"]["perplexity"]),
        f"{row.run['perplexity']['bits_per_byte']:.3f}",
        say.three(response["tokens_per_second"]["mean"]),
        say.three(1000 * response["first_token"]["mean"]),
        f"{row.run['memory']['peak'] / MIB:,.0f}",
    )


def tasks_table(rows: Rows, words: Words) -> Table | None:
    """A column for each metric of each task; None where the study asks none."""
    asked = rows.original.run.get("tasks", {})
    scores = [(task, metric) for task, found in asked.items() for metric in found["scores"]]
    if not scores:
        return None
    heads = (Column(f"{task}: {metric}") for task, metric in scores)
    columns = (Column(words("lm.column.id"), "left"), *heads)
    counts = {found["samples"] for found in asked.values()} - {None}
    caption = words("lm.table.tasks.caption", samples=" / ".join(map(str, sorted(counts))))
    lines = tuple(_line(row, tuple(_score(row, *score) for score in scores)) for row in rows.all)
    return Table("tasks", words("lm.table.tasks"), columns, lines, caption)


def _score(row: Row, task: str, metric: str) -> str:
    """The value with its standard error, where lm-eval takes one."""
    found = row.run["tasks"][task]["scores"][metric]
    error = "" if found["error"] is None else f" ± {found['error']:.4f}"
    return f"{found['value']:.4f}{error}"


def goals_table(rows: Rows, words: Words) -> Table:
    """Shares of the original, and whether the goals are met."""
    goals = rows.study.goals
    caption = words(
        "lm.table.goals.caption",
        rouge=f"{100 * goals.rouge:g}",
        bleu=f"{100 * goals.bleu:g}",
        time=f"{100 * (1 - goals.time):g}",
        memory=f"{100 * (1 - goals.memory):g}",
    )
    lines = tuple(_line(row, _kept(row, words)) for row in rows.pruned)
    return Table("goals", words("lm.table.goals"), _columns(GOALS, words), lines, caption)


def _kept(row: Row, words: Words) -> tuple[str, ...]:
    verdict, ratio = row.verdict, row.run["response"]["ratio"]
    time = f"{say.percent(verdict.time, 1)} ({say.percent(ratio['low'], 0)}–{say.percent(ratio['high'], 0)})"
    values = {
        "rouge": say.percent(verdict.rouge, 1),
        "bleu": say.percent(verdict.bleu, 1),
        "time": time,
        "memory": say.percent(verdict.memory, 1),
    }
    marks = {name: MARKS[met] for name, met in verdict.met.items()}
    if verdict.unclear:
        marks["time"] = words("lm.unclear")
    marked = (f"{value} {marks[name]}" for name, value in values.items())
    return (*marked, f"{sum(verdict.met.values())} / {len(verdict.met)}")


def samples_table(rows: Rows, words: Words) -> Table | None:
    """Wanted answers, those of the original and those of the winner."""
    if rows.winner is None or not rows.original.run["samples"]:
        return None
    names = ("question", "wanted", "original", "pruned")
    heads = (words(f"lm.column.{name}", id=rows.winner.entry.id) for name in names)
    pairs = zip(rows.original.run["samples"], rows.winner.run["samples"], strict=True)
    lines = tuple(
        Line(
            (theirs["question"], theirs["wanted"], theirs["answer"], ours["answer"]),
            (rows.original.name, rows.winner.name),
        )
        for theirs, ours in pairs
    )
    columns = tuple(Column(head, "left") for head in heads)
    caption = words("lm.table.samples.caption")
    return Table("samples", words("lm.table.samples"), columns, lines, caption)
