"""`secateur list`, `show`, `status`, `report`, `compare`: what a results folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..core.errors import PlanError, unknown
from ..experiments.language.results import is_language_study
from ..experiments.results import Point, Results, RunResult, load_results
from . import language_study

Root = Annotated[Path, typer.Argument(help="results folder")]
RunName = Annotated[
    str, typer.Argument(help="digest, digest/seed or id, as `secateur list` shows it")
]


def add(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("list")(list_runs)
    app.command("show")(show)
    app.command("status")(status)
    app.command("report")(report)
    app.command("compare")(compare)


def list_runs(root: Root) -> None:
    """List the finished runs, one line each."""
    if is_language_study(root):
        print("\n".join(language_study.list_lines(root)))
        return
    table = Table("run", "label", "points", "sparsity", "accuracy", "seconds")
    for run in _results(root).runs:
        last = run.points[-1]
        row = [run.label, str(len(run.points)), sparsity(last), accuracy(last)]
        table.add_row(run.name, *row, f"{run.seconds:.0f}")
    Console().print(table)


def show(root: Root, run: RunName) -> None:
    """Show one run: its configuration and every measured point."""
    import yaml

    if is_language_study(root):
        print("\n".join(language_study.show_lines(root, run)))
        return
    for found in _pick(_results(root), run):
        print(f"{found.label} · {found.name} · {found.started} · {found.seconds:.0f} s")
        print(yaml.safe_dump(found.config, sort_keys=False, allow_unicode=True).rstrip())
        Console().print(_points(found))


def status(root: Root) -> None:
    """Say what is finished and what is left."""
    if is_language_study(root):
        print("\n".join(language_study.status_lines(root)))
        return
    results = _results(root)
    print(f"{len(results.runs)} finished, {len(results.unfinished)} left")
    for run in results.unfinished:
        begun = "begun" if run.started else "not begun"
        print(f"  {begun:<9} {run.label} · {run.digest}/{run.seed}")
    if results.unfinished:
        print(f"go on with: secateur resume {root}")


def report(
    root: Root,
    out: Annotated[Path | None, typer.Option(help="folder of the report")] = None,
    lang: Annotated[str, typer.Option(help="en or ko")] = "en",
    formats: Annotated[str, typer.Option(help="comma-separated: html, pdf, md")] = "html,md",
) -> None:
    """Write the report of a results folder."""
    from ..report.write import FORMATS, write

    wanted = tuple(formats.split(","))
    for name in wanted:
        if name not in FORMATS:
            raise unknown("report format", name, FORMATS)
    for path in write(root, out or root / "report", lang=lang, formats=wanted).values():
        print(path)


def compare(root: Root, first: RunName, second: RunName) -> None:
    """Put two runs beside each other: where they differ, and their last points."""
    if is_language_study(root):
        Console().print(language_study.compared(root, first, second))
        return
    results = _results(root)
    one, two = (_pick(results, name)[0] for name in (first, second))
    table = Table("", f"{one.label} · {one.name}", f"{two.label} · {two.name}")
    for key, a, b in _differences(one.config, two.config):
        table.add_row(key, str(a), str(b))
    table.add_section()
    for name, a, b in zip(_ROWS, _row(one.points[-1]), _row(two.points[-1]), strict=True):
        table.add_row(name, a, b)
    Console().print(table)


def _results(root: Path) -> Results:
    """What the folder holds; one without any results is a mistake."""
    found = load_results(root)
    if not (found.runs or found.unfinished or found.analyses):
        raise PlanError(
            f"'{root}' holds no results; name the --out of `secateur run` or `secateur prune`"
        )
    return found


_ROWS = ("sparsity", "accuracy", "non-zero parameters", "MACs of non-zeros", "bytes stored")


def _row(point: Point) -> tuple[str, ...]:
    macs = f"{point.macs_nonzero:,}" if point.macs_nonzero is not None else "–"
    stored = f"{point.bytes_stored:,}" if point.bytes_stored is not None else "–"
    return sparsity(point), accuracy(point), f"{point.nonzero:,}", macs, stored


def sparsity(point: Point) -> str:
    """Of the weights; of the MACs of an input, and marked so, where layers decide for each."""
    return f"{100 * point.sparsity:.2f} %" + (" of MACs" if point.at_run_time else "")


def accuracy(point: Point) -> str:
    """Test accuracy, or validation accuracy marked as such."""
    if point.test is not None:
        return f"{100 * point.test.accuracy:.2f} %"
    return f"{100 * point.val.accuracy:.2f} % (val)" if point.val is not None else "–"


def _pick(results: Results, name: str) -> list[RunResult]:
    """The runs a digest or `digest/seed` names; prefixes count while they are unambiguous."""
    found = [run for run in results.runs if run.name.startswith(name) or run.digest == name]
    if not found:
        raise unknown("run", name, [run.name for run in results.runs])
    if len({run.digest for run in found}) > 1:
        raise PlanError(f"'{name}' names {len(found)} runs; give more of the digest")
    return found


def _points(run: RunResult) -> Table:
    table = Table("round", "moment", *_ROWS)
    for point in run.points:
        table.add_row(str(point.round), point.moment, *_row(point))
    return table


def _differences(one: dict, two: dict, path: str = "") -> list[tuple[str, object, object]]:
    """(key, a, b) wherever two configurations differ."""
    rows: list[tuple[str, object, object]] = []
    for key in sorted({*one, *two}):
        a, b, where = one.get(key), two.get(key), f"{path}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            rows += _differences(a, b, f"{where}.")
        elif a != b:
            rows.append((where, a, b))
    return rows
