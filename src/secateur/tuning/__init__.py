"""WHAT TRAINS in the main training, where it is not the weights themselves."""

from .low_rank import LowRank

__all__ = ["LowRank"]
