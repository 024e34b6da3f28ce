"""What comes OUT of a finished pruning: masked weights, or wrappers that decide at run time."""

from .activation_thresholds import ActivationThresholds
from .channel_gates import ChannelGates
from .hard_masks import HardMasks
from .masks import Masks

__all__ = ["ActivationThresholds", "ChannelGates", "HardMasks", "Masks"]
