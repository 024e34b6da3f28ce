"""How accuracy is won back after pruning."""

from .fine_tune import FineTune
from .from_scratch import FromScratch
from .lora import Lora
from .reset import Reset
from .rewind import RandomTicket, RewindLR, RewindWeights

__all__ = ["FineTune", "FromScratch", "Lora", "RandomTicket", "Reset", "RewindLR", "RewindWeights"]
