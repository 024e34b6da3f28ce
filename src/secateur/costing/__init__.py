"""What a traced network would take, were some of its units gone: measured milliseconds."""

from .latency import LatencyCost, latency_cost
from .sweet import SweetSpots, sweet_spots

__all__ = ["LatencyCost", "SweetSpots", "latency_cost", "sweet_spots"]
