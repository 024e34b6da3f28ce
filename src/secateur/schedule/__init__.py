"""WHEN: the moments of pruning and the density after each."""

from .one_shot import OneShot

__all__ = ["OneShot"]
