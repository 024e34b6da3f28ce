"""Studies of language models on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.errors import PlanError, unknown
from ..experiments.language.config import LanguageStudy, Line, load_language_study
from ..experiments.language.results import Entry, LanguageResults, load_language
from ..experiments.language.runner import LanguageRunner
from ..report.words import Words
from .progress import Bar
from .words import numbers


def run(
    experiment: Path,
    out: Path,
    scale: float,
    seeds: str | None,
    only: list[str] | None,
    device: str,
    report: bool,
    lang: str,
) -> None:
    """Run a study of a language model; started again it goes on where it was."""
    if only:
        raise PlanError("--only chooses methods to compare; a study of a language model has phases")
    study = load_language_study(experiment)
    if seeds is not None:
        study = study.model_copy(update={"seed": _one(seeds)})
    carry_out(LanguageRunner(out, study, scale=scale, device=device), report, lang)


def _one(seeds: str) -> int:
    found = numbers(seeds, "seeds")
    if len(found) != 1:
        raise PlanError(f"a study of a language model has one seed, not {len(found)}")
    return found[0]


def carry_out(runner: LanguageRunner, report: bool, lang: str) -> None:
    """Do what is left, with progress; then the table and, if asked for, the report."""
    Words(lang)
    with Live(runner.total) as live:
        runner.run(live)
    from ..report import terminal_table, write

    Console().print(terminal_table(runner.root, lang=lang))
    if report:
        paths = write(runner.root, runner.root / "report", lang=lang, formats=("html", "md"))
        print(f"report: {paths['html']}")


def plan_lines(experiment: Path, scale: float) -> Iterator[str]:
    """What a study would do."""
    study = load_language_study(experiment).scaled(scale)
    asking = study.asking
    yield f"study {study.name}: {study.model.source}, questions {study.data}, seed {study.seed}"
    yield (
        f"{asking.calibration} questions to calibrate, {asking.validation} to decide, "
        f"{asking.test} to report"
    )
    for phase in study.phases:
        base = "the best so far" if phase.base == "best" else "the study's options"
        yield f"\nphase {phase.phase} {phase.title}: from {base}"
        yield from (f"  {line.id:<8} {_line(study, line)}" for line in phase.runs)
        if phase.search is not None:
            ranges = ", ".join(f"{k} {v}" for k, v in phase.search.ranges.items())
            yield f"  {phase.search.trials} trials over {ranges}"


def _line(study: LanguageStudy, line: Line) -> str:
    made = _called(line.method or study.method, line.options)
    if line.recovery is None:
        return made
    given = {k: v for k, v in line.recovery.items() if k != "name"}
    return f"{made}, then {_called(line.recovery['name'], given)}"


def _called(name: str, options: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{k}={v}" for k, v in options.items())
    return f"{name}({shown})"


def list_lines(root: Path) -> Iterator[str]:
    """The finished lines of a study."""
    found = load_language(root)
    for entry in found.entries:
        made = found.run(entry)
        yield (
            f"{entry.id:<8} {made['parameters']:>14,} parameters  ROUGE-L "
            f"{made['test']['rougeL']['f1']:.4f}  BLEU {made['test']['bleu']['score']:.4f}  "
            f"{entry.digest}/{found.study.seed}"
        )


def status_lines(root: Path) -> Iterator[str]:
    """What is finished and what is left."""
    found = load_language(root)
    left = [*found.missing, *_trials_left(found)]
    yield f"{len(found.entries)} finished, {len(left)} left"
    yield from (f"  left      {name}" for name in left)
    if left:
        yield f"go on with: secateur resume {root}"


def show_lines(root: Path, name: str) -> Iterator[str]:
    """One run: its configuration and what was measured."""
    import yaml

    found = load_language(root)
    entry = _pick(found, name)
    run = found.run(entry)
    yield f"{entry.id} · {entry.digest}/{found.study.seed} · {run['started']} · {run['seconds']:.0f} s"
    yield yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True).rstrip()
    yield from (f"{label:<28} {value}" for label, value in _figures(run))
    for done in run.get("recovery", ()):
        yield (
            f"recovery: {done['parameters']:,} parameters in {done['seconds']:.0f} s, loss "
            f"{done['before']['loss']:.4f} before, {done['after']['loss']:.4f} after"
        )


def compared(root: Path, first: str, second: str) -> Table:
    """Two runs beside each other: options and figures."""
    found = load_language(root)
    one, two = (_pick(found, name) for name in (first, second))
    table = Table("", *(f"{e.id} · {e.digest}" for e in (one, two)))
    for key in sorted({*one.options, *two.options}):
        a, b = one.options.get(key, "–"), two.options.get(key, "–")
        if a != b:
            table.add_row(key, str(a), str(b))
    table.add_section()
    pairs = zip(_figures(found.run(one)), _figures(found.run(two)), strict=True)
    for (label, a), (_, b) in pairs:
        table.add_row(label, a, b)
    return table


def _pick(found: LanguageResults, name: str) -> Entry:
    """The line of an id, or of (the beginning of) a digest."""
    for entry in found.entries:
        if name == entry.id or f"{entry.digest}/{found.study.seed}".startswith(name):
            return entry
    raise unknown("run", name, [e.id for e in found.entries])


def _figures(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was measured, as words."""
    gone, units = (sum(c[i] for c in run["layers"].values()) for i in (0, 1))
    answer = run["response"]["answer"]
    return [
        ("units removed", f"{gone:,} of {units:,}" if units else "–"),
        ("parameters", f"{run['parameters']:,}"),
        ("weights, MiB", f"{run['memory']['weights'] / 2**20:,.1f}"),
        *(
            (f"{part} ROUGE-L", f"{run[part]['rougeL']['f1']:.4f}")
            for part in ("validation", "test")
        ),
        *((f"{part} BLEU", f"{run[part]['bleu']['score']:.4f}") for part in ("validation", "test")),
        ("perplexity", f"{run['perplexity']['perplexity']:.3f}"),
        *_tasks(run),
        ("seconds to answer", f"{answer['mean']:.3f} ({answer['low']:.3f}–{answer['high']:.3f})"),
    ]


def _tasks(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """lm-eval's scores with their standard errors."""
    for task, found in run.get("tasks", {}).items():
        for metric, score in found["scores"].items():
            error = "" if score["error"] is None else f" ± {score['error']:.4f}"
            yield f"{task} {metric}", f"{score['value']:.4f}{error}"


def _trials_left(found: LanguageResults) -> Iterator[str]:
    for phase in found.study.phases:
        if phase.search is not None:
            done = sum(e.searched and e.phase == phase.phase for e in found.entries)
            if done < phase.search.trials:
                yield f"{phase.search.trials - done} trials of phase {phase.phase}"


class Live(Bar):
    """Progress of a study: a line per finished run, a bar on a terminal."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        kind = event["kind"]
        if kind == "training":
            self._say(
                f"training the small model: step {event['step']} of {event['steps']}, "
                f"loss {event['loss']:.3f}, {event['left']:.0f} s left"
            )
        elif kind == "begun":
            self._bar.update(self._task, description=event["id"])
        elif kind == "failed":
            self._bar.advance(self._task)
            self._say(f" failed {event['id']}: {event['why']}")
        else:
            self._bar.advance(self._task)
            self._say(
                f"{kind:>7} {event['id']:<7} {event['parameters']:,} parameters, ROUGE-L "
                f"{event['rouge']:.3f} on validation, {event['seconds']:.0f} s {event['note']}"
            )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)
