"""The catalogue of methods: a function that returns a recipe, and its card."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .density import as_density, describe
from .errors import PlanError, unknown
from .recipe import Recipe

METHODS: dict[str, Method] = {}

SHARED: list[Shared] = []
"""What every method takes beside its own options, in the order it is applied."""


@dataclass(frozen=True)
class Shared:
    """Options that say something of any recipe: `apply(recipe, options of the method, **given)`."""

    names: tuple[str, ...]
    apply: Callable[..., Recipe]


@dataclass(frozen=True)
class Method:
    """A catalogue entry: the card's facts and the function that builds the recipe."""

    name: str
    family: str
    paper: str
    authors: str
    year: int | None
    arxiv: str
    build: Callable[..., Recipe]

    @property
    def card(self) -> str:
        """The docstring: what it does, its equation, its quirks."""
        return inspect.getdoc(self.build) or ""

    @property
    def summary(self) -> str:
        """The card's first line."""
        return self.card.splitlines()[0] if self.card else ""

    @property
    def options(self) -> dict[str, Any]:
        """Option name -> default."""
        return {k: p.default for k, p in inspect.signature(self.build).parameters.items()}

    @property
    def takes_density(self) -> bool:
        """Whether a density or sparsity may be asked for."""
        return "density" in self.options

    def __call__(self, **options: Any) -> Recipe:
        options = dict(options)
        self._one_density(options)
        shared = {name: shared for shared in SHARED for name in shared.names}
        for key in options:
            if key not in self.options and key not in shared:
                raise unknown(f"option of method '{self.name}'", key, {*self.options, *shared})
        own = {key: value for key, value in options.items() if key in self.options}
        recipe = self.build(**own)
        for more in SHARED:
            given = {n: options[n] for n in more.names if n in options and n not in own}
            recipe = more.apply(recipe, own, **given) if given else recipe
        return recipe.model_copy(update={"method": self.name})

    def _one_density(self, options: dict[str, Any]) -> None:
        """Either word becomes `density`; both, or one the method has no use for, are refused."""
        density, sparsity = options.pop("density", None), options.pop("sparsity", None)
        if density is None and sparsity is None:
            return
        if not self.takes_density:
            raise PlanError(
                f"method '{self.name}' takes no density or sparsity; "
                f"its options are: {', '.join(self.options) or 'none'}"
            )
        options["density"] = as_density(density, sparsity)


def assumed(name: str, options: Iterable[str]) -> str:
    """What to say where the options of a catalogue method leave its density to a default; empty elsewhere."""
    made = METHODS.get(name)
    if made is None or {"density", "sparsity", "budget", "pattern"} & set(options):
        return ""
    density = made.options.get("density")
    if density is None or density != made.build().schedule.final_density:
        return ""
    return (
        f"{describe(density)} is the default of '{name}'; give density or sparsity (on the command line "
        "--density or --sparsity) for another"
    )


def method(
    name: str,
    *,
    family: str,
    paper: str = "",
    authors: str = "",
    year: int | None = None,
    arxiv: str = "",
) -> Callable[[Callable[..., Recipe]], Method]:
    """Decorator: enter a recipe-building function into the catalogue."""

    def enter(build: Callable[..., Recipe]) -> Method:
        if name in METHODS:
            raise PlanError(f"method '{name}' is registered twice; names must be unique")
        METHODS[name] = Method(name, family, paper, authors, year, arxiv, build)
        return METHODS[name]

    return enter


def shared_options(*names: str) -> Callable[[Callable[..., Recipe]], Callable[..., Recipe]]:
    """Decorator: options that every method takes; one that has an option of that name keeps its own."""

    def enter(apply: Callable[..., Recipe]) -> Callable[..., Recipe]:
        SHARED.append(Shared(names, apply))
        return apply

    return enter


def recipe(name: str, **options: Any) -> Recipe:
    """The recipe of the catalogue method `name`, e.g. `recipe("snip", sparsity=0.9)`."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name](**options)
