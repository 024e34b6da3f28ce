"""WHICH units are worth least: one criterion a file, each with its paper."""

from .magnitude import Magnitude
from .random import Random

__all__ = ["Magnitude", "Random"]
