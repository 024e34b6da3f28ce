"""OWL: blocks with more outliers stay denser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.density import share
from ..core.names import block_of
from ..core.types import Groups, Scores
from .budget import alive, total
from .patterns import span


@register("owl")
class Owl(Allocator):
    r"""density_b = density + 2λ (D_b − min D) / (max D − min D), shifted so that the mean is density.

    D_b: the share of outliers in block b, the scores above M times their mean over all weights of the
    block; b: everything whose name agrees up to its first number (`model.layers.3`). The mean weighs
    blocks by their size, so that the total is exact; within a block every layer has its density.
    The scores are those of the recipe's criterion, Wanda's in the paper. They are taken on the dense
    model before anything is pruned: walking block by block costs one more pass.

    Attributes:
        multiple: M.
        spread: λ; densities differ by up to 2λ.

    Paper: Yin et al. 2024, arXiv 2310.05175 (M from 3 to 10, λ = 0.08).
    """

    multiple: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    spread: float = Field(default=0.08, ge=0, lt=0.5)

    @property
    def surveys(self) -> bool:
        """The outliers of all blocks."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Densities belong to layers, whose rows may compete apart."""
        return frozenset({"tensor", "row"})

    def survey(self, scores: Scores, view: View) -> dict[str, list[float]]:
        """{block: [share of outliers, units]}."""
        blocks: dict[str, list[str]] = {}
        for target in view.targets:
            blocks.setdefault(block_of(target.name), []).append(target.name)
        return {
            block: self._outliers([scores[n] for n in names]) for block, names in blocks.items()
        }

    def _outliers(self, scores: list[Tensor]) -> list[float]:
        units = sum(s.numel() for s in scores)
        mean = sum(float(s.double().sum()) for s in scores) / units
        above = sum(int((s > self.multiple * mean).sum()) for s in scores)
        return [above / units, float(units)]

    def densities(
        self, surveyed: Mapping[str, Sequence[float]], density: float
    ) -> dict[str, float]:
        """{block: density}, whose mean over all units is `density`."""
        ratio = torch.tensor([s[0] for s in surveyed.values()], dtype=torch.float64)
        units = torch.tensor([s[1] for s in surveyed.values()], dtype=torch.float64)
        width = float(ratio.max() - ratio.min())
        apart = (ratio - ratio.min()) * (2 * self.spread / width) if width > 0 else ratio * 0
        shifted = apart - (apart * units).sum() / units.sum() + density
        return dict(zip(surveyed, shifted.clamp(0, 1).tolist(), strict=True))

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        by_block = self.densities(view.surveyed or self.survey(scores, view), density)
        wanted = torch.zeros(len(groups.size), dtype=torch.float64)
        for target in view.targets:
            at = span(groups, target)
            wanted[at] = groups.size[at].double() * by_block[block_of(target.name)]
        here = {block_of(target.name) for target in view.targets}
        whole = here == set(by_block)
        count = total(groups, density) if whole else int(wanted.sum().round())
        return share(wanted, count, alive(scores, groups))
