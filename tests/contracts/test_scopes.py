"""What every scope promises: each unit in exactly one group, sizes that add up."""

from __future__ import annotations

import pytest
import torch

from secateur.core.axes import Scope
from secateur.core.density import keep_count
from secateur.core.errors import PlanError
from secateur.core.layout import whole
from secateur.core.select import select
from secateur.core.types import Groups, Member, Target
from tests.contracts.samples import answers, cases, clear, targets

ALL = cases(Scope)


def weights(inputs: int) -> tuple[Target, ...]:
    """Single weights whose input counts are multiples of `inputs`; one stores inputs first."""
    shapes = {"a": (6, 2 * inputs, 3, 3), "b": (5, inputs), "c": (3 * inputs, 4, 2)}
    dims = {"a": ("out", "in", "k", "k"), "b": ("out", "in"), "c": ("in", "out", "k")}
    return tuple(
        Target(n, "weights", s, (Member(n, whole(s)),), dims[n]) for n, s in shapes.items()
    )


def groups_of(scope: Scope) -> tuple[tuple[Target, ...], Groups]:
    """Targets that fit the scope's pattern, and their groups."""
    fitting = weights(getattr(scope, "m", 4))
    return fitting, scope.groups(fitting)


@pytest.mark.parametrize("scope", ALL)
def test_every_unit_is_in_exactly_one_group(scope: Scope) -> None:
    fitting, groups = groups_of(scope)
    assert list(groups.layouts) == [t.name for t in fitting]
    ids = torch.cat([groups.ids(t.name) for t in fitting])
    assert len(ids) == sum(t.units for t in fitting)
    counted = torch.bincount(ids, minlength=len(groups.size))
    assert torch.equal(counted, groups.size)
    assert bool((groups.size > 0).all())


@pytest.mark.parametrize("scope", ALL)
def test_selection_keeps_the_budget_of_every_group(scope: Scope) -> None:
    fitting, groups = groups_of(scope)
    rng = torch.Generator().manual_seed(3)
    scores = {t.name: torch.rand(t.shape, generator=rng) for t in fitting}
    density = scope.fixed_density or 0.5
    keep = torch.tensor([keep_count(density, int(n)) for n in groups.size])
    masks = select(scores, groups, keep)
    assert torch.equal(groups.count(masks), keep)
    ids = {t.name: groups.ids(t.name) for t in fitting}
    for g in range(0, len(keep), max(1, len(keep) // 7)):  # the best are the ones that stay
        mine = [
            (s, m)
            for n in ids
            for s, m in zip(
                scores[n].flatten()[ids[n] == g], masks[n].flatten()[ids[n] == g], strict=True
            )
        ]
        kept, gone = [s for s, m in mine if m], [s for s, m in mine if not m]
        assert not kept or not gone or min(kept) >= max(gone)


@pytest.mark.parametrize("scope", ALL)
def test_a_fixed_density_is_a_density(scope: Scope) -> None:
    assert scope.fixed_density is None or 0 < scope.fixed_density < 1


@pytest.mark.parametrize("cls", answers(Scope))
def test_rows_either_work_or_are_refused_by_name(cls: type[Scope]) -> None:
    rows = targets(dims=1)
    try:
        groups = cls().groups(rows)
    except PlanError as error:
        clear(error, f"scope '{cls.name}'", rows[0].name)
    else:
        assert int(groups.size.sum()) == sum(t.units for t in rows)
