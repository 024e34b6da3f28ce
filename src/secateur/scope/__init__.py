"""COMPARED with whom: how the units of all targets are cut into groups."""

from .model import Model
from .nm import NM
from .row import Row
from .tensor import Tensorwise

__all__ = ["NM", "Model", "Row", "Tensorwise"]
