"""What the SURVIVORS do at once: changes of kept weights after a selection."""

from .bias_compensation import BiasCompensation

__all__ = ["BiasCompensation"]
