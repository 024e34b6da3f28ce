"""How many weights stay in each matrix, row or run of inputs, read off a proposal."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core.density import keep_count
from ..core.errors import PlanError
from ..core.layout import Layout


@dataclass(frozen=True)
class Budget:
    """What may stay of one matrix [out, in].

    Attributes:
        keep: [1] for the matrix as a whole, [out] for its rows, or [out, in / run] for runs.
        run: how many consecutive inputs are compared (N:M), 0 where whole rows or matrices are.
    """

    keep: Tensor
    run: int = 0

    def between(self, start: int, stop: int, inputs: int) -> Tensor:
        """[1] or [out] how many stay of the columns `start` to `stop`: an even share, exact in sum."""
        to_stop = (2 * self.keep * stop + inputs) // (2 * inputs)
        to_start = (2 * self.keep * start + inputs) // (2 * inputs)
        return to_stop - to_start


@dataclass(frozen=True)
class Budgets:
    """One budget for each matrix of a stack."""

    each: tuple[Budget, ...]


def budget_of(layout: Layout, proposal: Tensor, name: str) -> Budgets:
    """The budgets of a target whose units are grouped by `layout`.

    Args:
        layout: the groups of the scope.
        proposal: bool [..., out, in], whose counts are the budget.
        name: of the target, for errors.
    """
    stack = proposal.reshape(-1, *proposal.shape[-2:])  # [experts or 1, out, in]
    experts, out, inputs = stack.shape
    if layout.units == 1:
        return Budgets(tuple(_shares(int(stack.sum()), experts, stack)))
    if layout.units == experts * out:
        return Budgets(tuple(Budget(rows) for rows in stack.sum(2)))
    run = layout.size
    if layout.units * run == stack.numel() and inputs % run == 0:
        counts = stack.view(experts, out, inputs // run, run).sum(3)
        return Budgets(tuple(Budget(rows, run) for rows in counts))
    raise PlanError(
        f"sparsegpt chooses within a tensor, a row or N of M inputs; '{name}' is cut into "
        f"{layout.units} groups of {run}. Use scope 'tensor', 'row' or 'nm'"
    )


def _shares(total: int, experts: int, stack: Tensor) -> list[Budget]:
    """The same for every expert, exact in sum."""
    cuts = [keep_count(e / experts, total) for e in range(experts + 1)]
    pairs = zip(cuts[1:], cuts[:-1], strict=True)
    return [Budget(stack.new_tensor([a - b], dtype=stack.sum().dtype)) for a, b in pairs]
