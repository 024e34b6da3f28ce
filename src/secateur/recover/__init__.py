"""How accuracy is won back after pruning."""

from .bn_recalibration import BnRecalibration
from .fine_tune import FineTune
from .from_scratch import FromScratch
from .lora import Lora
from .reset import Reset
from .rewind import RandomTicket, RewindLR, RewindWeights

__all__ = [
    "BnRecalibration",
    "FineTune",
    "FromScratch",
    "Lora",
    "RandomTicket",
    "Reset",
    "RewindLR",
    "RewindWeights",
]
