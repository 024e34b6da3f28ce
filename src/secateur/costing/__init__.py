"""What a traced network would take, were some of its units gone: measured milliseconds."""

from .latency import LatencyCost, latency_cost

__all__ = ["LatencyCost", "latency_cost"]
