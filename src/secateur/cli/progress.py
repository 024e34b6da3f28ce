"""Progress of a study on the terminal: one bar, and a line per finished run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..experiments.config import Planned


class Bar:
    """A bar of runs on a terminal, nothing on a plain stream; a context.

    Args:
        total: how many runs there are in all.
    """

    def __init__(self, total: int) -> None:
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("runs", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


class Live(Bar):
    """Shows events of runs; a line per run on a plain stream, a bar on a terminal.

    Args:
        planned: every run of the study.
    """

    def __init__(self, planned: Sequence[Planned]) -> None:
        super().__init__(len(planned))

    def __call__(self, run: Planned, event: dict[str, Any]) -> None:
        """Show one event of a run."""
        kind = event["kind"]
        name = f"{run.label} · seed {run.seed}"
        if kind == "epoch":
            self._bar.update(
                self._task, description=f"{name} · {event['stage']} {_accuracy(event)}"
            )
        elif kind in ("done", "skipped", "busy"):
            self._bar.advance(self._task)
            line = f"[dim]{kind:>7}[/] {name} {_summary(event)}"
            self._console.print(line, highlight=False, soft_wrap=True)
        elif kind == "resumed":
            self._console.print(
                f"resumed {name} at operation {event['operation']}", highlight=False
            )


def _accuracy(event: dict[str, Any]) -> str:
    value = event.get("val_accuracy")
    return f"val {100 * value:.1f} %" if value is not None else f"loss {event['loss']:.3f}"


def _summary(event: dict[str, Any]) -> str:
    points = event.get("points") or []
    if not points:
        return ""
    last = points[-1]
    seen = last.get("test") or last.get("val")
    shown = f"accuracy {100 * seen['accuracy']:.2f} %" if seen else ""
    gone = decided(last) or f"sparsity {100 * last['sparsity']:.2f} %"
    return f"{gone} {shown} in {event['seconds']:.0f} s"


def decided(point: Mapping[str, Any]) -> str:
    """What inputs need of a network that decides at run time; empty for others."""
    work = point.get("run_time")
    if not work:
        return ""
    mean, most = (100 * work["needed"][which] / work["dense"] for which in ("mean", "most"))
    return f"MACs of an input {mean:.1f} % on average, {most:.1f} % at worst"
