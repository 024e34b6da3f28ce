"""Refitted: weights make up for what was lost before them, and are chosen by their scores afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Chooser, Criterion, View, wide
from ..core.component import register
from ..core.matrix import matrix, unmatrix
from ..core.select import select
from ..core.types import Groups, Target
from .budget import single_weights
from .hessian import Factor, factorise, gram_of


@register("refitted")
class Refitted(Chooser):
    r"""W ← W + r W D (H + λ I)⁻¹, then the units with the highest scores stay: selection, without repair.

    H = X Xᵀ / n over the tokens that enter the layer in the network pruned so far (`input_gram`), D = (X° −
    X) Xᵀ / n, X° what entered it in the dense one (`input_shift`), λ = damping × mean diagonal of H. For r =
    1 that is argmin ‖W' X − W X°‖² / n + λ ‖W' − W‖². Layers of a block go in the order in which they run,
    each on what the pruned ones before it give, and the dense block runs beside. Experts that are stacked
    in one tensor stay where they are: they meet other tokens than in the dense network.

    Shapes: W [out, in], H, D [in, in] float32 or wider.

    Attributes:
        by: what scores the moved weights.
        share: r, how much of the way is gone, in (0, 1].
        damping: λ over the mean of H's diagonal.

    Paper: the target is the asymmetric calibration of GPTAQ (Li et al. 2025, arXiv 2504.02692), a method of
    quantisation; with scores that repair nothing it is this project's own.
    """

    by: Criterion
    share: float = Field(default=0.5, gt=0, le=1)
    damping: float = Field(default=0.01, gt=0, allow_inf_nan=False)

    @property
    def makes_up(self) -> bool:
        """Always."""
        return True

    def required(self) -> frozenset[str]:
        """What scores, the inputs, and how far these have moved."""
        return self.by.required() | {"input_gram", "input_shift"}

    def choose(self, keep: Mapping[str, Tensor], groups: Groups, view: View) -> dict[str, Tensor]:
        """The masks; the moved weights are written."""
        known: tuple[Tensor, Factor] | None = None
        for target in view.targets:
            known = self._move(target, view, known)
        budget = torch.zeros_like(groups.size)
        for name, layout in groups.layouts.items():
            budget[groups.first[name] : groups.first[name] + layout.units] = keep[name].cpu()
        scores = {t.name: self.by.score(view, t) for t in view.targets}
        gone = {name: ~view.masks[name].to(score.device) for name, score in scores.items()}
        return select(
            {n: s.masked_fill(gone[n], -torch.inf) for n, s in scores.items()}, groups, budget
        )

    def _move(
        self, target: Target, view: View, known: tuple[Tensor, Factor] | None
    ) -> tuple[Tensor, Factor] | None:
        """Write a target's new weights; the factor of its Gram matrix, `known` where it is the same."""
        param = single_weights(target, self.name)
        weight, dims = view.weight(param), view.dims(param)
        if "expert" in dims:
            return known
        rows = matrix(weight.to(wide(weight)), dims)
        gram = gram_of(view, param, rows).to(rows)
        if known is None or known[0].shape != gram.shape or not torch.equal(known[0], gram):
            known = (gram, factorise(gram, self.damping))
        new = known[1].moved(rows, view.stat("input_shift", param).to(rows), self.share)
        view.write(param, unmatrix(new, dims, tuple(weight.shape)).to(weight.dtype))
        view.note(target.name, damping=known[1].damping)
        return known
