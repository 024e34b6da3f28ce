"""Turn words of the command line into plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ..core.errors import PlanError


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`["rate=0.2", "rounds=3"]` -> `{"rate": 0.2, "rounds": 3}`, values read as YAML scalars.

    >>> settings(["exclude=*.down_proj.weight", "pattern=2:4"])
    {'exclude': '*.down_proj.weight', 'pattern': '2:4'}
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise PlanError(f"'{pair}' is no setting; write name=value, e.g. rounds=3")
        try:
            # YAML 1.1 reads 2:4 as a number to base 60, and *.down_proj.* as an alias
            plain = re.fullmatch(r"\d+:\d+|\*.*", text)
            value = text if plain else yaml.safe_load(text)
        except yaml.YAMLError:
            raise PlanError(f"the value of '{pair}' is no YAML scalar; quote it") from None
        out[key.replace("-", "_")] = value
    return out


def by_pattern(pairs: Iterable[str], what: str) -> dict[str, float]:
    """`["layer1.*=16"]` -> `{"layer1.*": 16.0}`; the last = counts."""
    out: dict[str, float] = {}
    for pair in pairs:
        pattern, _, text = pair.rpartition("=")
        try:
            out[pattern] = float(text)
        except ValueError:
            raise PlanError(f"{what} '{pair}': {text!r} is no number; write PATTERN=16") from None
        if not pattern:
            raise PlanError(f"{what} '{pair}' names no layer; write PATTERN=16, e.g. 'layer1.*=16'")
    return out


def numbers(text: str, what: str) -> list[int]:
    """`"42,43"` -> `[42, 43]`."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise PlanError(f"{what} '{text}' are no whole numbers; write e.g. 42,43,44") from None
