"""Attention of torch with fewer heads is a graph, in which the example's sequence length is fixed."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

HEADS = ("heads", "head width")
"""Kinds of units that go out of `nn.MultiheadAttention` only if it becomes a graph."""

PROJECTIONS = ("in_proj_weight", "q_proj_weight")


def fixed_lengths(model: nn.Module, params: Iterable[str]) -> tuple[str, ...]:
    """Names of the `nn.MultiheadAttention` among whose projections into heads one of `params` is.

    Its `forward` takes the width of a head for `embed_dim // num_heads`, so no smaller one can say that
    heads are gone; the graph that stands in for it reshapes to the lengths it was traced with.
    """
    cut = set(params)
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        and not cut.isdisjoint(f"{name}.{weight}".lstrip(".") for weight in PROJECTIONS)
    )


def length_note(names: str) -> str:
    """The line that a plan and a listing have of them."""
    return (
        f"without some heads {names} (nn.MultiheadAttention) will be a graph that takes "
        "sequences as long as the example's alone"
    )
