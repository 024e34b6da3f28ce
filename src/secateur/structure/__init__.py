"""WHAT may go together: single weights, rows, blocks, coupled structures."""

from .blocks import Blocks
from .rows import Rows
from .weights import Weights

__all__ = ["Blocks", "Rows", "Weights"]
