"""Run-time wrappers: layers that decide for every input what they leave out."""

from .channel_gate import ChannelGate
from .sliced_conv import SlicedConv

__all__ = ["ChannelGate", "SlicedConv"]
