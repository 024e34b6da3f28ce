"""In how FEW VALUES what is left is told."""

from .integers import Integers
from .shared_weights import SharedWeights

__all__ = ["Integers", "SharedWeights"]
