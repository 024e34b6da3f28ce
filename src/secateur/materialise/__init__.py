"""What comes OUT of a finished pruning: masked weights here, other forms beside them."""

from .hard_masks import HardMasks
from .masks import Masks

__all__ = ["HardMasks", "Masks"]
