"""What was run: network, data, training, methods, machine, versions; all from the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..experiments.results import RunResult
from ..experiments.statistics import flat
from . import notation as say
from .blocks import Column, Facts, Row, Section, Table
from .study import Study
from .tables import spec
from .words import Words

LABELS = ("name", "method")
"""Keys of a recipe that are no axes."""


def section(study: Study, words: Words) -> Section:
    """The facts and the table of methods."""
    facts = {
        "network": _each(study, lambda run: _network(run, words)),
        "data": _each(study, lambda run: _data(run, words)),
        "evaluated": _evaluated(study, words),
        "training": _each(study, lambda run: _training(run, words)),
        "seeds": ", ".join(map(str, seeds(study))),
        "machine": _each(study, lambda run: _machine(run.machine, words)),
        "versions": _each(study, lambda run: pairs(run.versions, " ")),
        "git": _each(study, lambda run: _git(run.git, words)),
        "started": say.moment(min(run.started for run in study.runs)),
        "time": say.duration(total_time(study), words),
    }
    rows = tuple((words(f"about.{key}"), value) for key, value in facts.items() if value)
    return Section("about", words("about.title"), (Facts(rows), _methods(study, words)))


def seeds(study: Study) -> list[int]:
    """Every seed that has a finished run."""
    return sorted({run.seed for run in study.runs})


def total_time(study: Study) -> float:
    """Computing time of all finished runs, in seconds."""
    return sum(run.seconds for run in study.runs)


def _each(study: Study, tell: Any) -> str:
    """What the runs say, each different answer once."""
    return "; ".join(dict.fromkeys(text for run in study.runs if (text := tell(run))))


def _network(run: RunResult, words: Words) -> str:
    network = run.config.get("network")
    plain = network if isinstance(network, dict) else {}
    parts = [spec(network), pairs(plain.get("options", {}))]
    parts.append(words("about.parameters", n=say.count(run.points[0].params)))
    if plain.get("weights"):
        parts.append(words("about.weights", path=plain["weights"]))
    return _joined(parts)


def _data(run: RunResult, words: Words) -> str:
    data = run.config.get("data")
    plain = data if isinstance(data, dict) else {}
    parts = [spec(data)]
    if plain.get("validation"):
        share = say.three(100 * plain["validation"])
        parts.append(words("about.data.split", validation=share))
    if "augment" in plain:
        kind = ("augment" if plain.get("flip", True) else "crop") if plain["augment"] else "plain"
        parts.append(words(f"about.data.{kind}"))
    return _joined(parts)


def _evaluated(study: Study, words: Words) -> str:
    found = {
        (metric, score.n): None
        for metric in ("test", "val")
        for run in study.runs
        for point in run.points
        if (score := getattr(point, metric)) is not None
    }
    return _joined(
        words("about.images", n=say.count(n), metric=words(f"metric.{metric}"))
        for metric, n in found
    )


def _training(run: RunResult, words: Words) -> str:
    training = run.config.get("training")
    if training:
        return pairs(training)
    network = run.config.get("network") or {}
    trained = network.get("weights") is not None or network.get("trained")
    return words("about.training.none" if trained else "about.training.never")


def _machine(machine: Mapping[str, Any], words: Words) -> str:
    threads = machine.get("threads")
    counted = words("about.threads", n=threads) if threads else ""
    names = dict.fromkeys(str(machine.get(key, "")) for key in ("device", "processor", "platform"))
    return _joined([*names, counted])


def _git(git: Mapping[str, Any] | None, words: Words) -> str:
    if not git:
        return ""
    note = f" ({words('about.dirty')})" if git.get("dirty") else ""
    return f"{str(git.get('commit', ''))[:12]}{note}"


def pairs(values: Mapping[str, Any], between: str = " = ") -> str:
    """Settings with dotted names, in one line; what is off (None) is left out.

    >>> pairs({"preset": "short", "schedule": {"peak": 0.3}, "clip": None})
    'preset = short, schedule.peak = 0.3'
    """
    items = flat(values).items()
    return ", ".join(f"{key}{between}{value}" for key, value in items if value not in (None, []))


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def _methods(study: Study, words: Words) -> Table:
    columns = tuple(Column(words(f"column.{n}"), "left") for n in ("method", "settings"))
    rows = tuple(
        Row(
            (
                one.label,
                _recipe([run.config.get("recipe", {}) for run in one.runs]),
                str(len(one.runs)),
            ),
            tuple(run.name for run in one.runs),
            one.slot,
        )
        for one in study.series
    )
    title, caption = words("table.methods"), words("table.methods.caption")
    return Table("methods", title, (*columns, Column(words("column.runs"))), rows, caption)


def _recipe(recipes: Sequence[Mapping[str, Any]]) -> str:
    """`criterion snip · schedule one-shot(density=0.1 | 0.02)` of all configurations of a series."""
    axes = dict.fromkeys(axis for recipe in recipes for axis in recipe if axis not in LABELS)
    told = ((axis, [recipe.get(axis) for recipe in recipes]) for axis in axes)
    return " · ".join(f"{axis} {_answers(values)}" for axis, values in told if any(values))


def _answers(values: Sequence[Any]) -> str:
    """One answer of an axis, over configurations: fields that differ show every value."""
    if not isinstance(values[0], dict):
        return _distinct(values)
    first = values[0]
    fields = [
        f"{key}={_distinct([flat(v).get(key) for v in values if isinstance(v, dict)])}"
        for key in flat(first)
        if key != "name" and first.get(key, 0) is not None
    ]
    name = str(first.get("name", ""))
    return f"{name}({', '.join(fields)})" if fields else name


def _distinct(values: Iterable[Any]) -> str:
    """Each different value once; numbers in order."""
    told = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in told):
        told.sort()
    return " | ".join(dict.fromkeys(map(str, told)))
