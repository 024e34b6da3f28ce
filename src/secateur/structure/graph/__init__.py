"""Structures of any network, found on its `torch.export` graph by dimension inference."""

from secateur.structure.graph.axes import Axis
from secateur.structure.graph.errors import ProofError, TraceError, ValuesNeeded
from secateur.structure.graph.op import rule
from secateur.structure.graph.remove import Removal, remove
from secateur.structure.graph.trace import Trace, trace

__all__ = [
    "Axis",
    "ProofError",
    "Removal",
    "Trace",
    "TraceError",
    "ValuesNeeded",
    "remove",
    "rule",
    "trace",
]
