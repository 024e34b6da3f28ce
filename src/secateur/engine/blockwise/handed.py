"""What blocks leave for later ones beside their output, in mappings that the model hands them.

Models whose last layers reuse the keys and values of earlier ones (Gemma 3n, Gemma 4) give every layer
one mapping to write them to and read them from. A block that is done and not run again has to leave in
it what it left when it ran.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree as tree

_GAVE, _LEFT = "#gave", "#left"

Given = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments and keywords of a call."""


def kept_of(output: Any, given: Given) -> Any:
    """What is to be kept of a call: its output, with the tensors that mappings hold after it.

    >>> kept_of(1, ((), {"scale": 2}))
    1
    """
    left = {place: _tensors(mapping) for place, mapping in _mappings(given)}
    return {_GAVE: output, _LEFT: left} if any(left.values()) else output


def handed_on(kept: Any, given: Given) -> Any:
    """The output of a call that was kept; what it left is put into the mappings of another call."""
    if not isinstance(kept, dict) or _LEFT not in kept:
        return kept
    for place, mapping in _mappings(given):
        mapping.update(kept[_LEFT].get(place, {}))
    return kept[_GAVE]


def _mappings(given: Given) -> Iterator[tuple[str, MutableMapping[str, Any]]]:
    """Those among the arguments of a call, by their place or keyword."""
    args, kwargs = given
    for place, value in [*enumerate(args), *kwargs.items()]:
        if isinstance(value, MutableMapping):
            yield str(place), value


def _tensors(mapping: MutableMapping[str, Any]) -> dict[str, Any]:
    """The entries that hold nothing but tensors."""
    return {
        key: value
        for key, value in mapping.items()
        if all(isinstance(leaf, Tensor) for leaf in tree.tree_leaves(value))
    }
