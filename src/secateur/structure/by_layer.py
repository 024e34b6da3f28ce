"""What a configuration says layer by layer, after the loss of some."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .depth import COUNT, Depth, fewer


def beside(config: Mapping[str, Any], depth: Depth) -> Iterator[tuple[str, Any]]:
    """Keys of a configuration that go by layer, with what they say of the layers that stay.

    Lists with an entry for each layer, lists of layers by number, and names of the states between
    layers (`stage_names` of a backbone) with the lists that choose among those.
    """
    names: list[str] = next((v for v in config.values() if _names_states(v, depth.layers)), [])
    for key, value in config.items():
        listed = isinstance(value, list) and COUNT.search(key)
        new: Any
        if value and value is names:
            yield key, names[: len(names) - depth.layers + len(depth.stay)]
        elif names and (places := _choice(value, config, names)):
            now = [_place(place, len(names), depth) for place in places]
            yield key, [names[place] if isinstance(value[0], str) else place for place in now]
        elif listed and (new := fewer(value, depth)) is not None:
            yield key, new
        elif _numbers_layers(key, value, depth):
            yield key, [depth.stay.index(i) for i in value if i in depth.stay]


def _names_states(value: Any, layers: int) -> bool:
    """Whether a list names one state for each layer by number, and perhaps what goes before."""
    if not isinstance(value, list) or len(value) < layers:
        return False
    ends = [re.search(r"\d+$", v) if isinstance(v, str) else None for v in value[-layers:]]
    return [int(end[0]) for end in ends if end] == list(range(1, layers + 1))


def _choice(value: Any, config: Mapping[str, Any], names: list[str]) -> list[int]:
    """Places in `names` that a list chooses by name, or by number as another list does by name."""
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(v, str) and v in names for v in value):
        return [names.index(v) for v in value]
    if all(type(v) is int and -len(names) <= v < len(names) for v in value):
        said = [names[v] for v in value]
        return [v % len(names) for v in value] if said in config.values() else []
    return []


def _place(place: int, names: int, depth: Depth) -> int:
    """Where a state is now: the layers before it that stay make it what it was."""
    before = names - depth.layers
    layers_before = place - before + 1
    return place if layers_before < 1 else before - 1 + sum(i < layers_before for i in depth.stay)


def _numbers_layers(key: Any, value: Any, depth: Depth) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and str(key).endswith("layers")
        and all(type(v) is int and 0 <= v < depth.layers for v in value)
    )
