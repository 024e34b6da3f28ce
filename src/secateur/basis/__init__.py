"""In what BASIS: networks rewritten so that they compute the same and can lose more."""

from .principal import PrincipalAxes
from .spread import SpreadInputs

__all__ = ["PrincipalAxes", "SpreadInputs"]
