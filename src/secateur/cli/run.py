"""`secateur run`, `plan`, `resume`: studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..experiments.config import Experiment, load_experiment
from ..experiments.language.config import is_language_file
from ..experiments.language.results import is_language_study
from ..experiments.language.runner import LanguageRunner
from ..experiments.planning import defaults, plan_lines
from ..experiments.runner import Runner
from ..report.words import Words
from . import language_study
from .progress import Live
from .words import numbers

Out = Annotated[Path, typer.Option("--out", help="results folder")]
Scale = Annotated[float, typer.Option(help="shrink epochs and data, e.g. 0.02 for a small machine")]
Seeds = Annotated[str | None, typer.Option(help="instead of the study's seeds, e.g. 42,43")]
Only = Annotated[list[str] | None, typer.Option(help="only these methods (repeat the option)")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda")]
Lang = Annotated[str, typer.Option(help="language of the report: en or ko")]


def add(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("run")(run)
    app.command("plan")(plan)
    app.command("resume")(resume)


def run(
    experiment: Annotated[Path, typer.Argument(help="the study, a YAML file")],
    out: Out = Path("runs"),
    scale: Scale = 1.0,
    seeds: Seeds = None,
    only: Only = None,
    device: Device = "auto",
    report: Annotated[bool, typer.Option("--report", help="write the report at the end")] = False,
    lang: Lang = "en",
    checkpoint_seconds: Annotated[
        float,
        typer.Option(min=0, help="how often to checkpoint while training; 0 = at every step"),
    ] = 30.0,
) -> None:
    """Run a study; started again it goes on where it was, and finished runs are skipped."""
    if is_language_file(experiment):
        language_study.run(experiment, out, scale, seeds, only, device, report, lang)
        return
    study = _narrowed(load_experiment(experiment), seeds, only)
    for line in defaults(study):
        print(line)
    runner = Runner(out, study, scale=scale, device=device, checkpoint_seconds=checkpoint_seconds)
    _carry_out(runner, report, lang)


def resume(
    out: Annotated[Path, typer.Argument(help="results folder of a study that was begun")],
    device: Device = "auto",
    report: Annotated[bool, typer.Option("--report", help="write the report at the end")] = False,
    lang: Lang = "en",
) -> None:
    """Go on with the study that a results folder belongs to."""
    if is_language_study(out):
        language_study.carry_out(LanguageRunner.reopen(out, device=device), report, lang)
        return
    _carry_out(Runner.reopen(out, device=device), report, lang)


def plan(
    experiment: Annotated[Path, typer.Argument(help="the study, a YAML file")],
    scale: Scale = 1.0,
    seeds: Seeds = None,
    only: Only = None,
) -> None:
    """Show what a study would do: every run, its recipe, targets and budgets; nothing is touched."""
    if is_language_file(experiment):
        for line in language_study.plan_lines(experiment, scale):
            print(line)
        return
    study = _narrowed(load_experiment(experiment), seeds, only)
    for line in plan_lines(study, scale):
        print(line)


def _narrowed(study: Experiment, seeds: str | None, only: list[str] | None) -> Experiment:
    if seeds is not None:
        study = study.model_copy(update={"seeds": numbers(seeds, "seeds")})
    return study.only(only) if only else study


def _carry_out(runner: Runner, report: bool, lang: str) -> None:
    Words(lang)
    with Live(runner.planned) as live:
        runner.run(live)
    if not runner.finished:
        print(
            f"other processes are still at work; when they are done: secateur resume {runner.root}"
        )
        return
    runner.analyse(print)
    from ..report import terminal_table

    Console().print(terminal_table(runner.root, lang=lang))
    if report:
        from ..report import write

        paths = write(runner.root, runner.root / "report", lang=lang, formats=("html", "md"))
        print(f"report: {paths['html']}")
