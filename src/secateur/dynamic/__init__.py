"""Run-time wrappers: layers that decide for every input what they leave out."""

from .channel_gate import ChannelGate
from .cut import Cut, set_sparsity
from .sliced_conv import SlicedConv
from .thresholded import ThresholdedAttention, ThresholdedLinear

__all__ = [
    "ChannelGate", "Cut", "SlicedConv", "ThresholdedAttention", "ThresholdedLinear", "set_sparsity",
]  # fmt: skip
