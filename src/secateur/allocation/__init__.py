"""HOW MANY from each group: whole numbers with an exact total."""

from .uniform import Uniform

__all__ = ["Uniform"]
