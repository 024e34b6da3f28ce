"""WHEN: the moments of pruning and the density after each."""

from .cubic import Cubic
from .exponential import Exponential
from .iterative import Iterative
from .linear import Linear
from .never import Never
from .one_shot import OneShot
from .regrow import Regrow
from .repeat import Repeat
from .settled import Settled
from .soft import Soft

__all__ = [
    "Cubic", "Exponential", "Iterative", "Linear", "Never", "OneShot", "Regrow", "Repeat", "Settled", "Soft",
]  # fmt: skip
