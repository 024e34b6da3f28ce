"""What several gates refuse."""

from __future__ import annotations

from ..core.errors import PlanError
from ..core.types import Target


def single_weights(gate: str, targets: tuple[Target, ...], instead: str) -> None:
    """Refuse units that own more than one weight.

    Args:
        gate: the gate's name.
        targets: what it is to act on.
        instead: what else serves units that are larger.

    Raises:
        PlanError: naming the first target with such units.
    """
    large = [t for t in targets if len(t.members) != 1 or t.members[0].layout.size != 1]
    if large:
        raise PlanError(
            f"gate '{gate}' goes by single weights; the units of '{large[0].name}' "
            f"({large[0].kind}) are larger. Use structure 'weights', or {instead}"
        )
