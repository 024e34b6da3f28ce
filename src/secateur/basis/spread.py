"""Spread inputs: channels in an order in which N of every M keep more of the scores."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Criterion, Reorder
from ..core.component import register
from ..core.errors import PlanError
from ..core.extras import need

MOST = 1024
"""Groups that one assignment is solved over; its work grows with their cube."""


@register("spread-inputs")
class SpreadInputs(Reorder):
    r"""π = argmax Σ_r Σ_g (the N largest of S_r,π(g,1) … S_r,π(g,M)), found by dealing and assigning.

    S: scores [rows, inputs] of all weights that read the inputs, g: the groups of M consecutive places.
    Inputs are sorted by Σ_r S_ri and dealt out to the groups, best first, the next best the other way
    round, and so on M times, so that important ones do not meet (heuristic channel allocation). Then,
    place by place, every group gives up its input at that place, and a linear sum assignment deals them
    out anew: group g with input i gains Σ_r max(S_ri − t_rg, 0), t_rg the N-th largest of the other M − 1
    (what else it keeps does not depend on i). No step makes the sum smaller; the order that was there stays
    where it is as good. More than 1,024 groups are assigned in parts of that many.

    Shapes: scores [rows, inputs], order [inputs], in float64.

    Attributes:
        by: what scores; None = the recipe's own criterion.
        rounds: how often all M places are gone through; 0 deals alone.
        residual: whether the residual stream, which all blocks share, gets an order of its own too.

    Paper: Zhang, Bai, Lin, Zhao, Hou, Cannistraci 2024, "Plug-and-Play: An Efficient Post-training
    Pruning Method for Large Language Models" (ICLR 2024). There every layer has an order of its own, and the
    network has to gather its inputs while it runs; here only orders are taken that what produces the inputs
    can be put in for good. The official code goes through the places once (`rounds=1`).
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    by: Criterion | None = None
    rounds: int = Field(default=1, ge=0)
    residual: bool = True

    @property
    def across(self) -> bool:
        """As asked."""
        return self.residual

    def judge(self, criterion: Criterion) -> Criterion:
        """`by`, or the recipe's own."""
        return criterion if self.by is None else self.by

    def order(self, scores: Tensor, n: int, m: int) -> Tensor:
        """The order found, or the one that was there."""
        if scores.shape[1] % m:
            raise PlanError(
                f"{scores.shape[1]} inputs cannot be spread over groups of {m}; their number is no "
                f"multiple of {m}"
            )
        scores = scores.double().cpu()
        groups = dealt(scores.sum(0), m)
        for _ in range(self.rounds):
            for place in range(m):
                for part in groups.split(MOST):
                    part[:, place] = assigned(scores, part, place, n)
        found = groups.flatten()
        before = torch.arange(scores.shape[1])
        better = retained(scores[:, found], n, m) > retained(scores, n, m)
        return found if better else before


def dealt(sums: Tensor, m: int) -> Tensor:
    """[groups, m] inputs dealt out by their sums [inputs], back and forth.

    >>> dealt(torch.tensor([1.0, 2, 3, 4, 5, 6]), 3).tolist()
    [[5, 2, 1], [4, 3, 0]]
    """
    rounds = sums.argsort(descending=True, stable=True).view(m, -1).clone()
    rounds[1::2] = rounds[1::2].flip(1)
    return rounds.T.contiguous()


def assigned(scores: Tensor, groups: Tensor, place: int, n: int) -> Tensor:
    """[groups] the inputs at one place of all groups, dealt out anew so that the most is retained.

    Args:
        scores: [rows, inputs].
        groups: [groups, m] the inputs of each.
        place: the place that all groups give up.
        n: how many of m stay.
    """
    solver: Any = need("scipy.optimize", "a permutation of channels")
    free = groups[:, place]
    others = torch.cat([groups[:, :place], groups[:, place + 1 :]], 1)
    bar = scores[:, others].topk(n, dim=-1).values[..., -1]  # [rows, groups]
    offered = scores[:, free]
    gain = torch.stack([(offered - bar[:, [g]]).clamp(min=0).sum(0) for g in range(len(groups))])
    _, chosen = solver.linear_sum_assignment(gain.numpy(), maximize=True)  # [groups, free]
    return free[torch.from_numpy(chosen)]


def retained(scores: Tensor, n: int, m: int) -> float:
    """The sum of the n largest of every m consecutive scores, over all rows of [rows, inputs].

    >>> retained(torch.tensor([[1.0, 2, 3, 4]]), 1, 2)
    6.0
    """
    return float(scores.unflatten(1, (-1, m)).topk(n, dim=-1).values.sum())
