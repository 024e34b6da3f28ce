"""Rearranged: which units of a layer go is chosen again, by what they do to the loss together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.axes import Repair, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Groups, Target


@register("rearranged")
class Rearranged(Repair):
    r"""Exchange units of each target while (1 − m)ᵀ F (1 − m) falls, as many as were to stay.

    m: the mask, F = (1/n) Σ_x g gᵀ, g = ∂ℓ(x)/∂ξ the gradients of gates on the units of one target
    (`gate_products`, of the network before the update). The proposal says how many go. Those with the
    smallest F_uu are taken first; then every other unit, in rising order of F_uu, joins them once, and
    the one whose return leaves the least goes back. No exchange raises the loss.

    Shapes: F [units, units] float64.

    Attributes:
        inner: the solver that follows, None for none.

    Paper: Kwon, Kim, Mahoney, Hassoun, Keutzer, Gholami 2022, arXiv 2204.09656, mask rearrangement.
    """

    inner: Repair | None = None

    def required(self) -> frozenset[str]:
        """The gates' products, and what the inner one needs."""
        return frozenset({"gate_products"}) | (self.inner.required() if self.inner else frozenset())

    def prepare(self, model: torch.nn.Module, targets: tuple[Target, ...]) -> bool:
        """As the inner one."""
        return self.inner.prepare(model, targets) if self.inner is not None else False

    @property
    def makes_up(self) -> bool:
        """As the inner one."""
        return self.inner is not None and self.inner.makes_up

    def solve(self, target: Target, proposal: Tensor, groups: Groups, view: View) -> Tensor:
        """The rearranged mask, or what the inner solver makes of it."""
        if groups.layouts[target.name].units != 1:
            raise PlanError(
                f"solver 'rearranged' exchanges units of a whole target; '{target.name}' is cut into "
                "groups. Use scope 'tensor'"
            )
        here = view.masks[target.name].flatten().nonzero()[:, 0]  # units that are there
        fisher = view.stat("gate_products", target.name)[here][:, here]
        kept = torch.zeros(target.units, dtype=torch.bool, device=proposal.device)
        kept[here[~exchanged(fisher, len(here) - int(proposal.sum())).to(here.device)]] = True
        mask = kept.view(target.shape)
        return mask if self.inner is None else self.inner.solve(target, mask, groups, view)


def exchanged(fisher: Tensor, gone: int) -> Tensor:
    """bool [units] `gone` units whose sum of F over all their pairs is small, found greedily.

    >>> g = torch.tensor([[2.0, -2.0, 1.0, 1.0]])
    >>> exchanged(g.T @ g, 2)
    tensor([ True,  True, False, False])
    """
    fisher = fisher.double().cpu()
    diagonal, units = fisher.diagonal(), len(fisher)
    order = units - 1 - diagonal.flip(0).argsort(stable=True)  # of equals the last goes first
    out = torch.zeros(units, dtype=torch.bool)
    out[order[:gone]] = True
    if not gone:
        return out
    sums = fisher[:, out].sum(1)  # [units] F_u,T 1
    for unit in order[gone:].tolist():
        out[unit] = True
        sums = sums + fisher[:, unit]
        left = sums[out].sum() - 2 * sums + diagonal  # without each of them
        back = int(left.masked_fill(~out, math.inf).argmin())
        out[back] = False
        sums = sums - fisher[:, back]
    return out
