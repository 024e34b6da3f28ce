"""Taking structures physically out of a network: what goes, the removal, its proof, what follows it."""

from .asked import can_go
from .shrink import shrink
from .shrunk import Shrunk

__all__ = ["Shrunk", "can_go", "shrink"]
