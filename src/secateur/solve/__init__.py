"""What the SURVIVORS do at once: changes of kept weights after a selection."""

from .bias_compensation import BiasCompensation
from .least_squares import LeastSquares
from .rearranged import Rearranged
from .sparsegpt import SparseGPT

__all__ = ["BiasCompensation", "LeastSquares", "Rearranged", "SparseGPT"]
