"""What a model costs: parameters, MACs, bytes, memory, and latency against another model."""

from .latency import Latency, compare_latency, paired_times
from .macs import MacCount, count_macs
from .memory import Memory, peak_memory
from .params import ParameterCount, count_parameters, kept_masks
from .report import Comparison, Measured, compare, measure
from .size import Size, measure_size
from .statistics import Interval, ratio_interval

__all__ = [
    "Comparison",
    "Interval",
    "Latency",
    "MacCount",
    "Measured",
    "Memory",
    "ParameterCount",
    "Size",
    "compare",
    "compare_latency",
    "count_macs",
    "count_parameters",
    "kept_masks",
    "measure",
    "measure_size",
    "paired_times",
    "peak_memory",
    "ratio_interval",
]
