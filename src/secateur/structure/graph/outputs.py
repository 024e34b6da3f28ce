"""Which outputs of a network keep their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from secateur.core.names import pick

PREDICTIONS = ("logits", "pred")
STATES = ("hidden_state", "attentions", "past_key_values", "cache_params", "model_output")


def has_digits(tensor: Tensor) -> bool:
    """Whether the values are real or complex numbers, which two runs can be compared by."""
    return tensor.is_floating_point() or tensor.is_complex()


@dataclass(frozen=True)
class Outputs:
    """The leaves of a network's output.

    Attributes:
        names: one for each leaf: its key, or its number, dotted where nested.
        held: numbers of the leaves whose dimensions keep their sizes.
        chosen: the selectors that were given, empty where none were.
    """

    names: tuple[str, ...]
    held: frozenset[int]
    chosen: tuple[str, ...] = ()

    def floats(self, output: Any) -> list[Tensor]:
        """The real and complex tensors among the held leaves of an output."""
        held = [t for i, t in enumerate(pytree.tree_leaves(output)) if i in self.held]
        return [t for t in held if isinstance(t, Tensor) and has_digits(t)]


def outputs_of(spec: pytree.TreeSpec, chosen: Sequence[str] | None = None) -> Outputs:
    """The outputs of a traced network; `chosen` selectors are held, or what is a result when None.

    A result is every output; only of a mapping with predictions (`logits`, `pred_boxes`, …), as
    Hugging Face models return, internal states beside them (`encoder_last_hidden_state`,
    `attentions`, …) are none, and may change size with the width of the network.

    >>> spec = pytree.tree_structure({"logits": 0, "encoder_last_hidden_state": 0})
    >>> [outputs_of(spec).names[i] for i in outputs_of(spec).held]
    ['logits']
    >>> len(outputs_of(spec, ["*"]).held)
    2
    """
    leaves = pytree.tree_unflatten(range(spec.num_leaves), spec)
    named = {number: path or "0" for path, number in _walk(leaves)}
    names = tuple(named.get(i, str(i)) for i in range(spec.num_leaves))
    wanted = _results(names) if chosen is None else _picked(names, chosen)
    held = frozenset(i for i, name in enumerate(names) if name in wanted)
    return Outputs(names, held, tuple(chosen or ()))


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """(name, number) of every leaf of an output whose leaves are their numbers."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        items = []
        if isinstance(value, int):
            yield path, value
    for key, part in items:
        yield from _walk(part, f"{path}.{key}".lstrip("."))


def _results(names: Sequence[str]) -> set[str]:
    if not any(_mentions(name, PREDICTIONS) for name in names):
        return set(names)
    return {name for name in names if not _mentions(name, STATES)}


def _mentions(name: str, words: Sequence[str]) -> bool:
    return any(word in name for word in words)


def _picked(names: Sequence[str], chosen: Sequence[str]) -> set[str]:
    """The leaves that a selector picks, themselves or as a part of what it picks."""
    above = {name: _prefixes(name) for name in names}
    every = list(dict.fromkeys(prefix for name in names for prefix in above[name]))
    picked = set(pick(chosen, every, "output"))
    return {name for name in names if picked & set(above[name])}


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
