"""What the SURVIVORS do at once: changes of kept weights after a selection."""

from .bias_compensation import BiasCompensation
from .exact_obs import ExactOBS
from .least_squares import LeastSquares
from .rearranged import Rearranged
from .refitted import Refitted
from .sparsegpt import SparseGPT

__all__ = ["BiasCompensation", "ExactOBS", "LeastSquares", "Rearranged", "Refitted", "SparseGPT"]
