"""Taking structures physically out of a network: what goes, the removal, its proof, what follows it."""

from .shrink import shrink
from .shrunk import Shrunk

__all__ = ["Shrunk", "shrink"]
