"""Patterns: a convolution's kernels keep their weights in a few shapes that occur again and again."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .kernels import dictionary, energy, places, squares


@register("pattern")
class Pattern(Criterion):
    """s_i = Σ_{j in P} w_j² for the weights i of a kernel that lie in its pattern P, −1 for all others.

    A pattern is a set of `entries` places in a kernel. Each kernel has a natural one: its centre and its
    largest other weights. The `count` natural patterns that most kernels have are the dictionary, and
    of these a kernel gets the one that holds most of its energy Σ w², of equals the more frequent one.
    All weights of a pattern have one score, so that whole kernels compete: who keeps `entries` weights for
    every kernel keeps the pattern of each, who keeps fewer drops the weakest kernels.

    Shapes: [target.shape], single weights of convolutions. The dictionary is that of all targets at hand
    whose kernels are equally large. What has no kernels larger than a pattern is scored by its energy.

    Attributes:
        entries: weights that a kernel keeps, 4 of 3 × 3 in the papers.
        count: patterns in the dictionary.

    Paper: Ma et al. 2020, arXiv 1909.05073 (PCONV); Niu et al. 2020, arXiv 2001.00138 (PatDNN).
    """

    entries: int = Field(default=4, ge=1)
    count: int = Field(default=8, ge=1)

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the energy of the kernel's pattern, −1 outside of it."""
        size = places(target)
        if size <= self.entries:
            return energy(view, target)
        own = squares(view, target)
        alike = [squares(view, t) for t in view.targets if places(t) == size]
        table = dictionary(alike, self.entries, self.count).to(own.device)  # [patterns, places]
        held = own @ table.to(own.dtype).T  # [kernels, patterns]
        best = held.argmax(1)  # the first of equals
        return torch.where(table[best], held.amax(1, keepdim=True), -1.0).view(target.shape)
