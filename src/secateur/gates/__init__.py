"""What STANDS IN for the weights while the network trains, and what is learned from it."""

from .biprop import Biprop
from .edge_popup import EdgePopup
from .hard_concrete import HardConcrete
from .movement import Movement
from .scaling import Scaling
from .slimming import Slimming
from .soft_magnitude import SoftMagnitude
from .soft_movement import SoftMovement
from .sr_ste import SrSte
from .variational import Variational

__all__ = [
    "Biprop",
    "EdgePopup",
    "HardConcrete",
    "Movement",
    "Scaling",
    "Slimming",
    "SoftMagnitude",
    "SoftMovement",
    "SrSte",
    "Variational",
]
