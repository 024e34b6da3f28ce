"""Numbers by pattern: what a user says of some layers and not of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import PlanError, unknown
from ..core.names import matches
from ..core.types import Groups, Target


def as_pairs(value: Any) -> Any:
    """A mapping as pairs in its order, pairs as they are; what is neither is refused."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    pairs = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise PlanError(
            f"numbers by layer are a mapping from patterns, e.g. {{fc1: 0.1, conv*: 0.5}}; got {value!r}"
        )
    return value


def by_name(
    pairs: Iterable[tuple[str, float]], targets: tuple[Target, ...], who: str, what: str
) -> dict[str, float]:
    """Target name -> number: the first pattern that names a target or its layer counts.

    Args:
        pairs: pattern -> number; names, globs or `re:` expressions.
        targets: of the whole model.
        who, what: the component and what the number is, for errors: a pattern that names nothing, or
            nothing that earlier ones do not name already, is one.
    """
    found: dict[str, float] = {}
    for pattern, number in pairs:
        mine = named(pattern, targets)
        fresh = [name for name in mine if name not in found]
        if not fresh:
            raise PlanError(
                f"allocator '{who}': the {what} of '{pattern}' would never be used, earlier "
                "patterns name all its layers; put the more particular pattern first"
            )
        found.update(dict.fromkeys(fresh, number))
    return found


def named(pattern: str, targets: tuple[Target, ...]) -> list[str]:
    """Targets that a pattern names, by their own name or by that of the layer they belong to."""
    mine = [t.name for t in targets if matches(pattern, t.name) or matches(pattern, t.layer)]
    if not mine:
        raise unknown("layer", pattern, {n for t in targets for n in (t.name, t.layer) if n})
    return mine


def span(groups: Groups, target: Target) -> slice:
    """The target's groups."""
    first = groups.first[target.name]
    return slice(first, first + groups.layouts[target.name].units)
