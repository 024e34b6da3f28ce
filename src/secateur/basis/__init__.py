"""In what BASIS: networks rewritten so that they compute the same and can lose more."""

from .principal import PrincipalAxes

__all__ = ["PrincipalAxes"]
