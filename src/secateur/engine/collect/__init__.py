"""Statistics of a model, gathered in as few passes over the data as possible; one file each."""

from . import (
    activations,
    block_influence,
    gradient,
    gradient_abs,
    gradient_squared,
    hessian_gradient,
    initial,
    loss_without,
    routed_output,
    synaptic_flow,
)
from .collector import collect
from .statistics import names

__all__ = [
    "activations",
    "block_influence",
    "collect",
    "gradient",
    "gradient_abs",
    "gradient_squared",
    "hessian_gradient",
    "initial",
    "loss_without",
    "names",
    "routed_output",
    "synaptic_flow",
]
