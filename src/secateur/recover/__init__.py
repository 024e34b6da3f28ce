"""How accuracy is won back after pruning."""

from .fine_tune import FineTune
from .from_scratch import FromScratch
from .reset import Reset
from .rewind import RandomTicket, RewindLR, RewindWeights

__all__ = ["FineTune", "FromScratch", "RandomTicket", "Reset", "RewindLR", "RewindWeights"]
