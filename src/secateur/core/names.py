"""Selectors of names: exact, glob, or `re:` pattern; an unmatched one is an error."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from .errors import PlanError, unknown


def matches(selector: str, name: str) -> bool:
    """Whether `selector` (a name, a glob, or `re:` and a pattern) names `name`.

    A name always names itself, also one with brackets, which a glob would read as a choice.

    >>> matches("layer1.*", "layer1.0.conv1"), matches("re:conv[12]$", "layer1.0.conv1")
    (True, True)
    """
    if selector.startswith("re:"):
        try:
            return re.search(selector[3:], name) is not None
        except re.error as error:
            raise PlanError(f"pattern '{selector}' is no regular expression: {error}") from None
    return selector == name or fnmatch.fnmatchcase(name, selector)


def pick(selectors: Iterable[str], names: Iterable[str], what: str = "parameter") -> list[str]:
    """The names any selector picks, in order; a selector that picks none is an error."""
    every = list(names)
    chosen: set[str] = set()
    for selector in selectors:
        found = [name for name in every if matches(selector, name)]
        if not found:
            raise unknown(what, selector, every)
        chosen.update(found)
    return [name for name in every if name in chosen]


def layer_at(path: str) -> str:
    """The layer that a path of a module leads to, also from inside one of its parametrisations.

    >>> layer_at("conv.parametrizations.weight.0"), layer_at("conv")
    ('conv', 'conv')
    """
    return path.partition(".parametrizations.")[0]


def block_of(name: str) -> str:
    """The repeated block a name lies in: all up to its first number; a name without one is its own.

    >>> block_of("model.layers.3.mlp.up_proj.weight"), block_of("lm_head.weight")
    ('model.layers.3', 'lm_head.weight')
    """
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[: number + 1])
