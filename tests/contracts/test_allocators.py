"""What every allocator promises: whole numbers within bounds, exact totals, nested masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from secateur.core.axes import Allocator, Scope
from secateur.core.density import keep_count
from secateur.core.errors import PlanError
from secateur.core.select import select
from secateur.core.types import Groups
from secateur.scope import Model, Row, Tensorwise
from tests.contracts.samples import FakeView, answers, cases, clear, samples, targets

DENSITIES = (1.0, 0.9, 0.61, 0.5, 0.37, 0.2, 0.1, 0.02)
ALL = cases(Allocator)


def scope_of(allocator: Allocator) -> Scope:
    """The first scope it works with."""
    known: dict[str, Scope] = {s.name: s for s in (Tensorwise(), Row(), Model())}
    return next(s for name, s in known.items() if not allocator.scopes or name in allocator.scopes)


def scores_of(view: FakeView, ties: bool = False) -> dict[str, Tensor]:
    """Random scores, in quarters where there shall be ties; -inf where the mask says gone."""
    out = {}
    for target in view.targets:
        score = torch.rand(target.shape, generator=view.generator("score", target.name))
        score = (score * 4).floor() if ties else score
        out[target.name] = score.masked_fill(~view.masks[target.name], -math.inf)
    return out


def budgets(allocator: Allocator, groups: Groups, density: float, view: FakeView) -> Tensor | None:
    """Its numbers, or None where its bounds exclude the density and it says what is possible."""
    asked = density if allocator.uses_density else None
    try:
        return allocator.keep(scores_of(view), groups, asked, view)
    except PlanError as error:
        clear(error, "closest possible")
        return None


@pytest.mark.parametrize("allocator", ALL)
def test_exact_total_within_what_there_is(allocator: Allocator) -> None:
    view = FakeView(targets())
    groups = scope_of(allocator).groups(view.targets)
    for density in DENSITIES:
        keep = budgets(allocator, groups, density, view)
        if keep is None:
            continue
        assert keep.dtype == torch.long
        assert keep.shape == groups.size.shape
        assert bool(((keep >= 0) & (keep <= groups.size)).all())
        if allocator.uses_density and allocator.exact:
            assert int(keep.sum()) == keep_count(density, int(groups.size.sum()))


@pytest.mark.parametrize("cls", answers(Allocator))
def test_its_plain_form_answers(cls: type[Allocator]) -> None:
    """So that the other tests of this file never pass for want of an answer."""
    allocator = samples(cls)[0]
    assert isinstance(allocator, Allocator)
    view = FakeView(targets())
    groups = scope_of(allocator).groups(view.targets)
    assert sum(budgets(allocator, groups, d, view) is not None for d in DENSITIES) >= 2


@pytest.mark.parametrize("allocator", ALL)
def test_falling_densities_give_nested_masks(allocator: Allocator) -> None:
    """What is gone stays gone, so no group may be given more than it still has."""
    view = FakeView(targets())
    groups = scope_of(allocator).groups(view.targets)
    for density in DENSITIES:
        keep = budgets(allocator, groups, density, view)
        if keep is None:
            continue
        assert bool((keep <= groups.count(view.masks)).all())
        masks = select(scores_of(view), groups, keep)
        assert all(bool((view.masks[n] | ~masks[n]).all()) for n in masks)
        view = FakeView(view.targets, masks=masks)


@pytest.mark.parametrize("allocator", ALL)
def test_the_same_answer_every_time(allocator: Allocator) -> None:
    view = FakeView(targets())
    groups = scope_of(allocator).groups(view.targets)
    for density in DENSITIES:
        first, again = (budgets(allocator, groups, density, view) for _ in range(2))
        assert (first is None) == (again is None)
        assert first is None or again is None or torch.equal(first, again)


@pytest.mark.parametrize("allocator", ALL)
def test_scores_are_not_changed(allocator: Allocator) -> None:
    view = FakeView(targets())
    groups = scope_of(allocator).groups(view.targets)
    scores = scores_of(view)
    before = {n: s.clone() for n, s in scores.items()}
    try:
        allocator.keep(scores, groups, 0.5 if allocator.uses_density else None, view)
    except PlanError as error:
        clear(error, "closest possible")
    assert all(torch.equal(scores[n], before[n]) for n in scores)


@pytest.mark.parametrize("allocator", ALL)
def test_it_names_scopes_that_exist(allocator: Allocator) -> None:
    assert allocator.scopes <= set(Scope.registry)
