"""At the same pace all along, while the network trains."""

from __future__ import annotations

from typing import ClassVar

from ..core.component import register
from .cubic import Cubic


@register("linear")
class Linear(Cubic):
    """d_t = density + (initial - density) (1 - (t - begin) / (end - begin)).

    Updates are at the moments of `cubic`, whose fields these are.

    >>> [(str(u.step), u.density) for u in Linear(density=0.5, end="2it", every="1it").updates(1, 4)]
    [('1it', 0.75), ('2it', 0.5)]

    Paper: Cho, Adya, Naik 2023, arXiv 2305.11203 (an equal step more at every epoch).
    """

    power: ClassVar[int] = 1
