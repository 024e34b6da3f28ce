"""HOW MANY from each group: whole numbers with an exact total."""

from .above_zero import AboveZero
from .amc import Amc
from .bounded import Bounded
from .contiguous import Contiguous
from .erk import Erk
from .evolution import Evolution
from .given import Given
from .isomorphic import Isomorphic
from .knapsack import Knapsack
from .left import Left
from .model_wide import ModelWide
from .owl import Owl
from .smart_ratio import SmartRatio
from .std_threshold import StdThreshold
from .to_budget import ToBudget
from .uniform import Uniform
from .widths import Widths

__all__ = [
    "AboveZero",
    "Amc",
    "Bounded",
    "Contiguous",
    "Erk",
    "Evolution",
    "Given",
    "Isomorphic",
    "Knapsack",
    "Left",
    "ModelWide",
    "Owl",
    "SmartRatio",
    "StdThreshold",
    "ToBudget",
    "Uniform",
    "Widths",
]
