"""How many weights stay in each matrix, row or run of inputs, and which of them by their costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.density import keep_count
from ..core.errors import PlanError
from ..core.layout import Layout
from ..core.matrix import matrix
from ..core.select import keep_rows
from ..core.types import Target


@dataclass(frozen=True)
class Budget:
    """What may stay of one matrix [out, in].

    Attributes:
        keep: int64 [1] for the matrix as a whole, [out] for its rows, or [out, in / run] for runs.
        out: rows of the matrix.
        run: how many consecutive inputs are compared (N:M), 0 where whole rows or matrices are.
    """

    keep: Tensor
    out: int
    run: int = 0

    def best(self, worth: Tensor, start: int, inputs: int) -> Tensor:
        """bool [columns, out]: the weights that stay of some columns, from `start` on.

        Args:
            worth: [columns, out], higher = keep; for N:M the columns of one run.
            start: the first of the columns.
            inputs: columns of the whole matrix.
        """
        if self.run:
            keep = self.keep[:, start // self.run]
        else:
            keep = self._between(start, start + len(worth), inputs)
        if len(keep) == 1:
            return keep_rows(worth.reshape(1, -1), keep.to(worth.device)).view(worth.shape)
        rows = worth.T if self.run else worth.T.contiguous()
        return keep_rows(rows, keep.to(worth.device)).T

    def _between(self, start: int, stop: int, inputs: int) -> Tensor:
        """[1] or [out] how many stay of the columns `start` to `stop`: an even share, exact in sum."""
        to_stop = (2 * self.keep * stop + inputs) // (2 * inputs)
        to_start = (2 * self.keep * start + inputs) // (2 * inputs)
        return to_stop - to_start


def budgets_of(
    layout: Layout, keep: Tensor, shape: tuple[int, ...], dims: tuple[str, ...], name: str
) -> list[Budget]:
    """The budget of every matrix of a target (one, or one for each expert).

    Args:
        layout: how the scope groups the target's units.
        keep: int64 [groups of the target], how many stay.
        shape: of the weight as matrices, [..., out, in].
        dims: what the dimensions of the weight are.
        name: of the target, for errors.
    """
    *stack, out, inputs = shape
    experts = stack[0] if stack else 1
    run, places = layout.size, len(layout.lead_shape)
    if layout.units == 1:
        return [Budget(part[None], out) for part in _shares(int(keep), experts)]
    if layout.units == experts * out and run == inputs:
        return [Budget(rows, out) for rows in keep.view(experts, out)]
    if places == len(dims) and layout.units * run == experts * out * inputs and "k" not in dims:
        counts = matrix(keep.view(layout.lead_shape), dims)  # [..., out, in / run]
        return [Budget(rows, out, run) for rows in counts.reshape(experts, out, inputs // run)]
    raise PlanError(
        f"sparsegpt chooses within a tensor, a row or N of M inputs of linear layers; '{name}' is cut "
        f"into {layout.units} groups of {run}. Use scope 'tensor', 'row' or 'nm'"
    )


def _shares(total: int, experts: int) -> list[Tensor]:
    """The same for every expert, exact in sum."""
    cuts = [keep_count(e / experts, total) for e in range(experts + 1)]
    return [torch.tensor(a - b) for a, b in zip(cuts[1:], cuts[:-1], strict=True)]


def single_weights(target: Target, solver: str) -> str:
    """The weight of a target of single weights; other units have no columns to go through."""
    if len(target.members) != 1 or target.members[0].layout.size != 1:
        raise PlanError(
            f"solver '{solver}' speaks of single weights; '{target.name}' has {target.kind}. "
            "Use structure 'weights'"
        )
    return target.members[0].param
