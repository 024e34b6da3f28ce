"""With which weights a network BEGINS that is not trained."""

from .kaiming import Kaiming
from .orthogonal import Orthogonal

__all__ = ["Kaiming", "Orthogonal"]
