"""Widths a machine likes and a user permits: multiples, floors, caps and protected layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.cost import Costs
from ..core.density import share
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target
from .around import Around
from .budget import Cap, Floor, alive, check_possible, least, total
from .multiples import nearest, permitted
from .patterns import as_pairs, by_name, named, span

Floors = Annotated[tuple[tuple[str, Floor], ...], BeforeValidator(as_pairs)]
Caps = Annotated[tuple[tuple[str, Cap], ...], BeforeValidator(as_pairs)]

COUNTED = frozenset({"heads", "query heads", "groups", "head width", "rope", "layers", "experts"})
"""Kinds whose units are few and large, or belong to each: their numbers are not rounded."""


@register("widths")
class Widths(Around):
    """keep_g = the multiples of `round_to` nearest to clamp(c inner_g, least_g, left_g).

    c is such that the inner's total is kept between the bounds; then every width becomes a multiple,
    or stays the one it is, so that the total is as near to the inner's as multiples permit, and after
    that Σ |keep_g - bounded_g| is least. Heads, groups, layers and experts are counted, not rounded.

    Patterns are names of targets or layers, globs or `re:` expressions; the first that names a layer
    counts, and one that decides none is an error.

    Attributes:
        inner: the allocator whose numbers are bounded and rounded.
        round_to: what widths are multiples of, e.g. 8; 1 = any number; `sweet`: what the kernels of this
            machine like best, measured before the first update. A narrower layer stays whole.
        floors: pattern -> the least to keep, a fraction below 1 or a number of units.
        caps: pattern -> the largest fraction that may be removed.
        protect: patterns of layers that stay as they are.
        even: what code cuts into equal pieces stays so: equally many units of each piece, and all of
            them where another piece keeps its size.
    """

    round_to: Annotated[int, Field(ge=1)] | Literal["sweet"] = 1
    floors: Floors = ()
    caps: Caps = ()
    protect: tuple[str, ...] = ()
    even: bool = False

    def model_post_init(self, _: Any) -> None:
        """A wrapper that does nothing would be a second name for what it wraps."""
        if not self._asks:
            raise PlanError(
                "allocator 'widths' asks for nothing; give round_to, floors, caps, protect or even"
            )

    @property
    def _asks(self) -> bool:
        bounds = self.floors or self.caps or self.protect
        return self.round_to != 1 or bool(bounds) or self.even

    def settled(self, multiple: Callable[[], int]) -> Allocator:
        """With a number for `sweet`; the inner one where that asks for nothing."""
        inner = self.inner.settled(multiple)
        fields = {**dict(self), "inner": inner}
        if self.round_to == "sweet":
            fields["round_to"] = multiple()
        asks = fields["round_to"] != 1 or self.floors or self.caps or self.protect or self.even
        return Widths(**fields) if asks else inner

    @property
    def scopes(self) -> frozenset[str]:
        """Widths belong to layers."""
        return frozenset({"tensor"})

    @property
    def exact(self) -> bool:
        """Multiples and equal pieces come near a total."""
        return self.round_to == 1 and not self.even and self.inner.exact

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse patterns of no layer, a density out of bounds, and what the inner one refuses."""
        self.inner.check(groups, density, targets, costs)
        choices = self._permitted(groups, groups.size, targets)
        if density is not None:
            self._check_total(total(groups, density), choices, groups)

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] the smallest permitted widths."""
        return _ends(self._permitted(groups, left, every))[0]

    def together(self, groups: Groups, every: tuple[Target, ...]) -> Tensor:
        """[G] the first group of those that have to stay equal."""
        one = self.inner.together(groups, every)
        for target in _here(groups, every) if self.even else ():
            first = min(groups.first[n] for n in (target.name, *target.even) if n in groups.first)
            one[groups.first[target.name]] = one[first]
        return one

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        inner = self.inner.keep(scores, groups, density, view)
        choices = self._permitted(groups, alive(scores, groups), view.every)
        one = self.together(groups, view.every)
        held, left = _ends(choices)
        if self.uses_density:
            wanted = int(inner.sum())
            self._check_total(wanted, choices, groups)
            bounded = share(inner.double(), wanted, left, held)
        else:
            bounded = inner.clamp(held, left)
        return torch.tensor(_nearest(bounded.tolist(), choices, one.tolist()))

    def _check_total(self, wanted: int, choices: list[list[int]], groups: Groups) -> None:
        check_possible(wanted, *_ends(choices), groups, f"allocator '{self.name}'")

    def _permitted(
        self, groups: Groups, left: Tensor, every: tuple[Target, ...]
    ) -> list[list[int]]:
        """[G] the numbers each group may keep, ascending."""
        bounds = self._bounds(groups, left, every).maximum(self.inner.held(groups, left, every))
        if self.round_to == "sweet":
            raise PlanError(
                "round_to='sweet' is measured on a network and an example; give `secateur.prune` or "
                "`plan` both, or a number"
            )
        rows = [[int(n)] for n in left]
        for target in _here(groups, every):
            g = groups.first[target.name]
            step = 1 if target.kind in COUNTED else self.round_to
            rows[g] = permitted(step, int(bounds[g]), int(left[g]))
        return self._evened(rows, groups, every) if self.even else rows

    def _evened(
        self, rows: list[list[int]], groups: Groups, every: tuple[Target, ...]
    ) -> list[list[int]]:
        """[G] of each group what all that have to stay equal with it may keep."""
        out = list(rows)
        for target in _here(groups, every):
            others = [groups.first.get(name) for name in target.even]
            g = groups.first[target.name]
            common = set(rows[g]).intersection(*(rows[o] if o is not None else () for o in others))
            out[g] = sorted(common) if None not in others else rows[g][-1:]
            if not out[g]:
                raise PlanError(
                    f"'{target.name}' cannot stay as wide as {', '.join(target.even)} within the "
                    "bounds asked for; loosen them, or leave even=True out"
                )
        return out

    def _bounds(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] what floors, caps and protection leave."""
        floors = by_name(self.floors, every, self.name, "floor")
        caps = by_name(self.caps, every, self.name, "cap")
        whole = {name for pattern in self.protect for name in named(pattern, every)}
        out = torch.zeros_like(left)
        for target in _here(groups, every):
            g = span(groups, target)
            floor, cap = floors.get(target.name, 0.0), caps.get(target.name, 1.0)
            bound = least(floor, cap, groups.size[g], left[g])
            out[g] = left[g] if target.name in whole else bound
        return out


def _nearest(wanted: list[int], choices: list[list[int]], one: list[int]) -> list[int]:
    """`nearest`, with the same number for all groups of one id."""
    groups = {i: [g for g, own in enumerate(one) if own == i] for i in dict.fromkeys(one)}
    sums = [sum(wanted[g] for g in own) for own in groups.values()]
    rows = [[len(own) * n for n in choices[own[0]]] for own in groups.values()]
    chosen = zip(groups.values(), nearest(sums, rows), strict=True)
    number = {g: total // len(own) for own, total in chosen for g in own}
    return [number[g] for g in range(len(one))]


def _here(groups: Groups, every: tuple[Target, ...]) -> list[Target]:
    """The targets that the groups are of."""
    return [target for target in every if target.name in groups.layouts]


def _ends(choices: list[list[int]]) -> tuple[Tensor, Tensor]:
    """[G], [G] the smallest and the largest permitted numbers."""
    return torch.tensor([row[0] for row in choices]), torch.tensor([row[-1] for row in choices])
