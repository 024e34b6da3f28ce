"""The choice: rule out what the constraints forbid, rank the rest by what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core.cards import METHODS, Method
from ..core.errors import PlanError
from ..core.recipe import Recipe
from .measured import Table, table_for
from .need import Need, Takes
from .traits import ORDER, Traits, traits_of

LANGUAGE = "language models"
"""The family of what is written for language models."""

NAMES: dict[Takes, str] = {
    "weights": "single weights",
    "patterns": "N of every M weights",
    "units": "whole units, which leave the network",
}

Unfit = Callable[[Recipe], str]
"""Why a recipe does not do for a network; empty where it does."""


@dataclass(frozen=True)
class Choice:
    """A method that meets a need.

    Attributes:
        method, options: what to call it with.
        traits: what it takes and asks for.
        measured: its figure where it was compared, else empty.
        line: the command.
    """

    method: str
    options: dict[str, Any]
    traits: Traits
    measured: str
    line: str

    @property
    def label(self) -> str:
        """The method, and its options where it has some here."""
        return " ".join([self.method, *map(str, self.options.values())])

    def __str__(self) -> str:
        asks = {"nothing": "no data", "inputs": "inputs", "labels": "inputs and labels"}
        text = f"{self.label}: takes {NAMES[self.traits.takes]}; reads {asks[self.traits.reads]}"
        return "\n   ".join([text, f"measured: {self.measured or 'not in comparison'}", self.line])


@dataclass(frozen=True)
class Advice:
    """What was asked, the methods that do, the best first, and why the others do not.

    Attributes:
        need: the goal and the constraints.
        choices: the best first: those measured by their figures, then the others as in the catalogue.
        ruled_out: method -> why.
    """

    need: Need
    choices: tuple[Choice, ...]
    ruled_out: dict[str, str]

    def text(self, most: int = 3) -> str:
        """The first `most` choices, how many more there are, and reasons with their counts."""
        lines = [f"{i}. {choice}" for i, choice in enumerate(self.choices[:most], start=1)]
        more = [choice.label for choice in self.choices[most:]]
        if more:
            lines.append(f"Also possible: {', '.join(more)}.")
        if not self.choices:
            lines.append("No method of the catalogue does; give more (data, training) or ask less.")
        out = Counter(self.ruled_out.values()).most_common()
        if out:
            lines.append("Ruled out: " + "; ".join(f"{n} {why}" for why, n in out) + ".")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def advise(
    need: Need | None = None, *, at: str = "MODEL", unfit: Unfit | None = None, **asked: Any
) -> Advice:
    """Which methods meet a need, the best first.

    What a method takes and asks for is read off its recipe. Among those that do, the ones that were
    compared come first, by their figures in docs/results: small networks, so that the order is a
    place to begin, not a promise; measure on yours.

    Args:
        need: the goal and the constraints, or its fields by name (`goal="speed", data="inputs"`).
        at: the network, for the command lines.
        unfit: why a recipe does not do for the network at hand, e.g. for want of memory.

    Raises:
        PlanError: for a field or an answer that is not known.

    >>> print(advise(goal="speed", data="inputs").choices[0].method)
    channel-lasso
    """
    need = need if need is not None else Need(**asked)
    ranked: list[tuple[tuple[Any, ...], Choice]] = []
    out: dict[str, str] = {}
    for method, options in _variants():
        recipe = method(**options)
        traits = traits_of(recipe)
        why = (
            _why_not(need, method, traits)
            or _without(need, recipe)
            or _too_much(need, method, options)
        )
        why = why or (unfit(recipe) if unfit else "")
        if why:
            out[method.name] = why
            continue
        table = table_for(need, traits.takes)
        measured = table.says(method.name) if table and method.name in table.rows else ""
        line = _line(need, method, traits, _amount(need, method, recipe, options), at)
        choice = Choice(method.name, options, traits, measured, line)
        ranked.append((_rank(need, method, traits, table), choice))
    choices = tuple(choice for _, choice in sorted(ranked, key=lambda pair: pair[0]))
    able = {choice.method for choice in choices}
    return Advice(need, choices, {name: why for name, why in out.items() if name not in able})


def _variants() -> Iterator[tuple[Method, dict[str, Any]]]:
    """Every method, and once more in 2:4 where it can."""
    for method in METHODS.values():
        yield method, {}
        if "pattern" in method.options:
            yield method, {"pattern": "2:4"}


def _why_not(need: Need, method: Method, traits: Traits) -> str:
    """What a need has against a method; empty where nothing."""
    if method.family == "baselines":
        return "are baselines, to be compared with"
    if method.family == LANGUAGE and not need.speaks:
        return "are for language models"
    if traits.carries:
        return "train a network that was pruned before"
    if traits.takes not in need.takes:
        zeros = need.goal == "speed"
        return f"take {NAMES[traits.takes]}" + (", which bring no speed here" if zeros else "")
    if traits.trains and not need.training:
        return "train"
    if need.trained and (traits.begins or method.family == "at initialisation"):
        return "begin with an untrained network"
    if not need.trained and not need.training:
        return "have nothing to judge in an untrained network that stays untrained"
    if not need.has(traits.reads):
        return f"read {traits.reads}"
    return ""


def _without(need: Need, recipe: Recipe) -> str:
    """What a language model has none of."""
    kinds = getattr(recipe.structure, "kinds", ())
    return (
        "take channels, of which there are none" if need.speaks and kinds == ("channels",) else ""
    )


def _too_much(need: Need, method: Method, options: dict[str, Any]) -> str:
    """Where a method cannot leave as much as is to stay."""
    if options or not method.takes_density:
        return ""
    try:
        method(density=1 - need.share)
    except PlanError:
        return f"cannot leave {1 - need.share:.0%}"
    return ""


def _rank(need: Need, method: Method, traits: Traits, table: Table | None) -> tuple[Any, ...]:
    """What is taken first, then the place in the comparison, then what asks for less."""
    place = None if table is None else table.place(method.name)
    return (
        need.takes.index(traits.takes),
        place is None,
        place or 0,
        need.speaks and method.family != LANGUAGE,
        ORDER.index(traits.reads),
    )


def _line(need: Need, method: Method, traits: Traits, amount: list[str], at: str) -> str:
    """The command that carries a choice out."""
    words = ["secateur prune", at, "--method", method.name, *amount]
    if need.speaks:
        words += ["--data", "calibration.jsonl"] if traits.reads != "nothing" else []
    else:
        words += ["--data", "DATA"]
    if need.training and not need.speaks:
        after = need.trained and "fine_tune" in method.options  # it does not train before
        length = "5ep" if need.trained else "30ep"
        words += ["--option", f"fine_tune={length}"] if after else ["--train", length]
    return " ".join([*words, "--out", "pruned"])


def _amount(need: Need, method: Method, recipe: Recipe, options: dict[str, Any]) -> list[str]:
    """How much is to go, in the words that the method understands; of whole layers, their share."""
    if "pattern" in options:
        return ["--sparsity_type", options["pattern"]]
    if recipe.structure.traces and not need.speaks and "budget" not in method.options:
        return ["--budget", f"macs={1 - need.share:.0%}"]
    return ["--sparsity", f"{need.share:g}"] if method.takes_density else []
