"""The catalogue: published methods as functions that return a `Recipe`."""

from . import basic

__all__ = ["basic"]
