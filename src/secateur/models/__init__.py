"""Reference networks, one file each, and how users name their own."""

from .registry import build, names
from .resolve import build_seeded, resolve
from .size import ImageSize
from .weights import load_weights

__all__ = ["ImageSize", "build", "build_seeded", "load_weights", "names", "resolve"]
