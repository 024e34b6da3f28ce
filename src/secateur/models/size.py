"""Image sizes as networks are told them: one number for a square, or (height, width)."""

from __future__ import annotations

from ..core.errors import PlanError

ImageSize = int | tuple[int, int]


def height_width(size: ImageSize) -> tuple[int, int]:
    """(height, width) of a size.

    >>> height_width(32), height_width((28, 30))
    ((32, 32), (28, 30))
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise PlanError(f"image size {size!r} is no size; give one number, or (height, width)")
    return pair[0], pair[1]


def at_least(what: str, size: ImageSize, smallest: int) -> None:
    """Refuse images that a network would shrink to nothing."""
    height, width = height_width(size)
    if min(height, width) < smallest:
        raise PlanError(
            f"{what} needs images of at least {smallest}x{smallest}, but these are "
            f"{height}x{width}; resize them (size={smallest}) or choose a smaller network"
        )
