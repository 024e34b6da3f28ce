"""Densities by name, from the user."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, BeforeValidator
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.density import as_density, keep_count, share
from ..core.types import Groups, Scores, Target
from .budget import alive, check_possible, total
from .patterns import as_pairs, by_name, span

Density = Annotated[float, AfterValidator(lambda d: as_density(density=d))]
Densities = Annotated[tuple[tuple[str, Density], ...], BeforeValidator(as_pairs)]


@register("given")
class Given(Allocator):
    """keep_l = round(d n_l) for every layer l that a pattern gives the density d.

    Patterns are names of targets or layers, globs or `re:` expressions; the first that names a
    layer counts, and one that decides no layer is an error. The layers that none names get
    `default`; without a default they share, in equal density, what is left of the schedule's.

    Attributes:
        densities: pattern -> fraction kept, in (0, 1]; a mapping, or pairs in order.
        default: fraction kept of the other layers; None = what is left of the schedule's density.

    >>> Given(densities={"conv1": 0.8, "layer*": 0.2}, default=0.5).uses_density
    False
    """

    densities: Densities
    default: Density | None = None

    @property
    def uses_density(self) -> bool:
        """With a default every layer's density is given."""
        return self.default is None

    @property
    def by_sizes(self) -> bool:
        """Yes."""
        return True

    @property
    def across_targets(self) -> bool:
        """Without a default, layers share what the named ones of the model leave."""
        return self.default is None

    @property
    def scopes(self) -> frozenset[str]:
        """Densities belong to layers, whose rows may compete apart."""
        return frozenset({"tensor", "row"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        left = alive(scores, groups)
        named = self._named(view.every)
        keep = torch.zeros_like(groups.size)
        rest = torch.ones_like(groups.size, dtype=torch.bool)  # groups nobody has named
        for target in view.targets:
            if target.name in named:
                at = span(groups, target)
                keep[at] = _part(groups.size[at], left[at], named[target.name])
                rest[at] = False
        if density is not None:
            wanted = total(groups, density)
            most = torch.where(rest, left, keep)
            check_possible(wanted, keep, most, groups, f"allocator '{self}'")
            keep[rest] = share(groups.size[rest].double(), wanted - int(keep.sum()), left[rest])
        return keep

    def _named(self, targets: tuple[Target, ...]) -> dict[str, float]:
        """Target name -> density; the first pattern that names it counts."""
        found = by_name(self.densities, targets, self.name, "density")
        if self.default is not None:
            return {t.name: found.get(t.name, self.default) for t in targets}
        return found


def _part(size: Tensor, left: Tensor, density: float) -> Tensor:
    """[groups of one target] counts that sum to round(density * n), as far as units are left."""
    wanted = min(keep_count(density, int(size.sum())), int(left.sum()))
    return share(size.double() * density, wanted, left)
