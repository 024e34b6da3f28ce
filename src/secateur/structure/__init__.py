"""WHAT may go together: single weights, rows, blocks, coupled structures, experts, layers."""

from .blocks import Blocks
from .coupled import Coupled
from .experts import Experts
from .inputs import Inputs
from .layers import Layers
from .protected import Protected
from .rotated_residual import RotatedResidual
from .rows import Rows
from .weights import Weights

__all__ = [
    "Blocks", "Coupled", "Experts", "Inputs", "Layers", "Protected", "RotatedResidual", "Rows", "Weights",
]  # fmt: skip
