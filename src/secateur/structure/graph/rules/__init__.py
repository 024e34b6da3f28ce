"""The rules: how the dimensions of each operator's results follow from those of its inputs."""

from secateur.structure.graph.rules import (
    attention,
    conv,
    create,
    index,
    linear,
    norm,
    pieces,
    pointwise,
    pool,
    recurrent,
    reduce,
    shape,
)

__all__ = [
    "attention",
    "conv",
    "create",
    "index",
    "linear",
    "norm",
    "pieces",
    "pointwise",
    "pool",
    "recurrent",
    "reduce",
    "shape",
]
