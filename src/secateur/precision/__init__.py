"""In how FEW VALUES what is left is told."""

from .shared_weights import SharedWeights

__all__ = ["SharedWeights"]
