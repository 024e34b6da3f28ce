"""A study as text, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.cards import assumed
from ..engine.plan import make_plan
from ..engine.program import Train, build
from .config import Experiment, RunConfig
from .setting import Workshop


def plan_lines(study: Experiment, scale: float = 1.0) -> Iterator[str]:
    """What each configuration of the study would do: its plan, its training steps."""
    workshop = Workshop("cpu")
    planned = study.planned(scale)
    yield f"study {study.name}: {len(planned)} runs, seeds {', '.join(map(str, study.seeds))}"
    yield from defaults(study)
    seen: set[str] = set()
    for run in planned:
        if run.config.digest not in seen:
            seen.add(run.config.digest)
            yield f"\n{run.label} [{run.config.digest}]"
            yield from (f"  {line}" for line in _lines(run.config, workshop))


def defaults(study: Experiment) -> Iterator[str]:
    """What the study leaves to methods' defaults and a reader would want to know, a line each."""
    for entry in study.runs:
        if entry.recipe is None and (
            told := assumed(entry.method, {**entry.options, **entry.grid})
        ):
            yield told


def _lines(config: RunConfig, workshop: Workshop) -> Iterator[str]:
    model, setting = workshop.make(config, seed=0)
    recipe = config.build_recipe()
    yield from make_plan(model, recipe, setting.example).lines()
    ops = build(recipe, *setting.lengths(), setting.trained)
    steps = sum(op.stop - op.start for op in ops if isinstance(op, Train))
    yield f"{len(ops)} operations, {steps:,} training steps"
