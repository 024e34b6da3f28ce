"""Trying budgets on data: the network masked by one candidate after the other, and what that does to it."""

from .tried import Tried

__all__ = ["Tried"]
