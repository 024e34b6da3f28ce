"""Statistics of a model, gathered in as few passes over the data as possible; one file each."""

from . import (
    activations,
    gradient,
    gradient_abs,
    gradient_squared,
    hessian_gradient,
    initial,
    synaptic_flow,
)
from .collector import collect
from .statistics import names

__all__ = [
    "activations",
    "collect",
    "gradient",
    "gradient_abs",
    "gradient_squared",
    "hessian_gradient",
    "initial",
    "names",
    "synaptic_flow",
]
