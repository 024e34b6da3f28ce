"""How many heads torch's attention is left with, by what the columns of its output projection are made of."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from secateur.structure.attention import ATTENTION
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept, kept_size
from secateur.structure.graph.terms import Term, size


def attentions(model: nn.Module) -> dict[str, nn.MultiheadAttention]:
    """Name -> module, of torch's attention as it is."""
    return {name: m for name, m in model.named_modules() if type(m) in ATTENTION}


def heads_left(model: nn.Module, found: Inference, kept: Kept) -> Iterator[tuple[str, int, int]]:
    """(attention, heads before, heads after) for each that loses some.

    The columns of the output projection are head by head, so that the factors in front that make up the
    heads say which of them stay.
    """
    for name, module in attentions(model).items():
        terms = found.terms.get(f"{name}.out_proj.weight")
        heads = _in_front(terms[1], module.num_heads) if terms else None
        if heads is not None and kept_size(heads, kept) != module.num_heads:
            yield name, module.num_heads, kept_size(heads, kept)


def _in_front(term: Term, count: int) -> Term | None:
    """The factors at the front of a term whose product is `count`; None where there are none.

    >>> from secateur.structure.graph.terms import Fix, Var
    >>> size(_in_front((Fix(2), Var(3), Var(8)), 6)), _in_front((Fix(48),), 6)
    (6, None)
    """
    sizes = [size(term[:end]) for end in range(1, len(term) + 1)]
    return term[: sizes.index(count) + 1] if count in sizes else None
