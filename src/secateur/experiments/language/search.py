"""The search of a phase: Optuna over given ranges, resumable, by any number of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import PlanError
from ...core.extras import need
from ...core.random import derive
from ..locks import awaited, held
from .config import Line, Phase, Search

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from .runner import LanguageRunner

DATABASE = "search.db"
POLL_SECONDS = 0.5


def search(runner: LanguageRunner, phase: Phase, base: Mapping[str, Any]) -> None:
    """Trials until there are as many as asked for, whoever did them; every trial is a result.

    A trial that a killed process had begun is done with the same parameters, so that none is lost;
    its result, where it was written already, is only read.
    """
    assert phase.search is not None
    study = open_study(runner, phase)
    while True:
        with _taken(runner, study, phase) as number:
            if number is None:
                return
            if number >= 0:
                _carry_out(runner, phase, base, study, number)
                continue
        time.sleep(POLL_SECONDS)


def open_study(runner: LanguageRunner, phase: Phase) -> optuna.Study:
    """The phase's study in the folder's SQLite file."""
    need("optuna", "a search")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with awaited(runner.root / "trials"):
        return optuna.create_study(
            storage=f"sqlite:///{runner.root / DATABASE}",
            study_name=f"{runner.study.name}-{phase.phase}",
            directions=["maximize", "minimize", "minimize"],
            load_if_exists=True,
        )


@contextmanager
def _taken(runner: LanguageRunner, study: optuna.Study, phase: Phase) -> Iterator[int | None]:
    """A trial to carry out, held while it is; -1 where others do the last ones, None at the end."""
    assert phase.search is not None
    with ExitStack() as mine:
        with held(runner.root / "trials") as alone:
            number = _choose(runner, study, phase, phase.search, mine) if alone else -1
        yield number


def _folder(runner: LanguageRunner, phase: Phase, number: int) -> Path:
    return runner.root / "trials" / f"{phase.phase}-{number}"


def _choose(
    runner: LanguageRunner, study: optuna.Study, phase: Phase, search: Search, stack: ExitStack
) -> int | None:
    """An unfinished trial nobody works on, else a new one while there are too few."""
    busy = False
    for trial in study.get_trials(deepcopy=False):
        if _running(study, trial.number):
            if stack.enter_context(held(_folder(runner, phase, trial.number))):
                return trial.number
            busy = True
    count = len(study.get_trials(deepcopy=False))
    if count < search.trials:
        number = _ask(study, search, derive(runner.study.seed, "search", count))
        stack.enter_context(held(_folder(runner, phase, number)))
        return number
    return -1 if busy else None


def _ask(study: optuna.Study, search: Search, seed: int) -> int:
    """A new trial; the seed follows from how many there are, not from the process that asks."""
    import optuna

    first = min(8, max(1, search.trials // 2))  # drawn at random before the sampler models anything
    study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=first)
    known = {name: distribution(values) for name, values in search.ranges.items()}
    return study.ask(known).number


def distribution(values: list[Any]) -> BaseDistribution:
    """[lowest, highest] as a range of numbers, whole where both are; anything else as choices.

    >>> distribution([500, 1000]).high, distribution([0.05, 0.2]).low, distribution(["a", "b"]).choices
    (1000, 0.05, ('a', 'b'))
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if len(values) == 2 and all(type(v) is int for v in values):
        return IntDistribution(*values)
    if len(values) == 2 and all(type(v) in (int, float) for v in values):
        return FloatDistribution(float(values[0]), float(values[1]))
    return CategoricalDistribution(values)


def _running(study: optuna.Study, number: int) -> bool:
    import optuna

    return study.get_trials(deepcopy=False)[number].state == optuna.trial.TrialState.RUNNING


def _carry_out(
    runner: LanguageRunner, phase: Phase, base: Mapping[str, Any], study: optuna.Study, number: int
) -> None:
    """Run a trial and tell how it went; options that exclude each other make a failed one."""
    import optuna

    assert phase.search is not None
    asked = study.get_trials(deepcopy=False)[number].params
    if set(asked) != set(phase.search.ranges):  # killed while it was being drawn
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        return
    options = {name: _rounded(value) for name, value in asked.items()}
    line = Line(id=f"{phase.phase}-t{number}", options=options, note="")
    try:
        run = runner.line(line, phase, base, searched=True)
    except PlanError as error:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        runner.listen({"kind": "failed", "id": line.id, "why": str(error)})
        return
    study.tell(number, runner.objectives(run))


def _rounded(value: Any) -> Any:
    """Four digits are enough, and read better."""
    return round(value, 4) if isinstance(value, float) else value
