"""Cards as text: `docs/methods.md` is generated from here."""

from __future__ import annotations

from itertools import groupby

from ..core.cards import METHODS, SHARED, Method
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..engine.program import why_trained

FAMILIES = (
    "baselines",
    "at initialisation",
    "while training",
    "after training",
    "structured",
    "language models",
    "tickets",
)

_HEAD = """# Methods

Every method is a recipe: one answer on each axis. This page is generated from the cards
(`secateur methods --markdown`); a test fails when it is stale.
"""


def markdown() -> str:
    """The whole catalogue: a table of contents, then one section per method."""
    parts = [_HEAD, table(page=""), ""]
    for family, methods in by_family():
        parts.append(f"## {family.capitalize()}\n")
        parts += [_section(m) for m in methods]
    return "\n".join(parts).rstrip() + "\n"


def table(page: str = "docs/methods.md") -> str:
    """The methods as a Markdown table whose links go to `page`."""
    rows = ["| method | what it does | paper |", "|---|---|---|"]
    for _, methods in by_family():
        rows += [f"| [`{m.name}`]({page}#{m.name}) | {m.summary} | {_source(m)} |" for m in methods]
    return "\n".join(rows)


def by_family() -> list[tuple[str, list[Method]]]:
    """Every family with its methods, from the simplest family on."""
    ranked = sorted(METHODS.values(), key=lambda m: (_rank(m.family), m.family, m.name))
    return [(family, list(group)) for family, group in groupby(ranked, key=lambda m: m.family)]


def _rank(family: str) -> int:
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)


def _source(method: Method) -> str:
    if not method.paper:
        return "–"
    if not method.arxiv:
        return f"{method.authors} {method.year}"
    return f"{method.authors} {method.year}, [arXiv {method.arxiv}](https://arxiv.org/abs/{method.arxiv})"


def _section(method: Method) -> str:
    recipe = method()
    lines = [f"### {method.name}\n", method.card, ""]
    if method.paper:
        lines.append(f"Paper: {method.paper}. {_source(method)}.\n")
    lines.append(f"Axes: {axes(recipe)}.\n")
    options = ", ".join(f"`{k}={v!r}`" for k, v in method.options.items())
    lines.append(f"Options: {options or 'none'}. Needs: {needs(recipe)}.\n")
    if recipe.structure.traces:
        shared = ", ".join(f"`{name}`" for one in SHARED for name in one.names)
        lines.append(f"Also, where the axes allow it: {shared} (docs/budgets.md).\n")
    return "\n".join(lines)


def axes(recipe: Recipe) -> str:
    """The recipe's answers, one per axis that is used."""
    named = [
        (axis, getattr(recipe, axis)) for axis in type(recipe).model_fields if axis != "method"
    ]
    return " · ".join(f"{axis} `{answer}`" for axis, answer in named if answer)


def needs(recipe: Recipe) -> str:
    """What it rests on beyond the weights: what its scores look at, data to calibrate on, a training."""
    named = [f"`{n}`" for n in recipe.looks_at()]
    made = recipe.materialise
    named += ["data to calibrate on"] if isinstance(made, RunTime) and made.calibrates else []
    named += ["a training"] if why_trained(recipe) else []
    return ", ".join(named) or "the weights alone"


def card_text(method: Method) -> str:
    """One method's card for a terminal."""
    return _section(method).replace("`", "").replace("### ", "")
