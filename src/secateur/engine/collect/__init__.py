"""Statistics of a model, gathered in as few passes over the data as possible; one file each."""

from . import (
    activations,
    block_influence,
    couplings,
    gates,
    gradient,
    gradient_abs,
    gradient_squared,
    hessian_gradient,
    hessian_products,
    initial,
    input_shift,
    layer_sizes,
    loss_without,
    maps,
    output_cross,
    routed_output,
    sum_cross,
    synaptic_flow,
    unit_taylor,
)
from .collector import collect
from .statistics import names

__all__ = [
    "activations",
    "block_influence",
    "collect",
    "couplings",
    "gates",
    "gradient",
    "gradient_abs",
    "gradient_squared",
    "hessian_gradient",
    "hessian_products",
    "initial",
    "input_shift",
    "layer_sizes",
    "loss_without",
    "maps",
    "names",
    "output_cross",
    "routed_output",
    "sum_cross",
    "synaptic_flow",
    "unit_taylor",
]
