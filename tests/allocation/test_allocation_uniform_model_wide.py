"""Uniform and model-wide budgets, by hand and against each other."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.allocation import Bounded, ModelWide, StdThreshold, Uniform
from secateur.allocation.budget import least
from secateur.core.density import keep_count
from secateur.core.errors import PlanError
from secateur.core.layout import whole
from secateur.core.select import select
from secateur.core.types import Groups, Member, Target
from secateur.scope import NM, Model, Row, Tensorwise


def layers(*shapes: tuple[int, ...]) -> tuple[Target, ...]:
    words = ("out", "in", "k", "k")
    return tuple(
        Target(f"l{i}", "weights", s, (Member(f"l{i}", whole(s)),), words[: len(s)])
        for i, s in enumerate(shapes)
    )


def scores(*rows: list[float]) -> dict[str, Tensor]:
    return {f"l{i}": torch.tensor(row) for i, row in enumerate(rows)}


def line(*sizes: int) -> Groups:
    return Tensorwise().groups(layers(*[(n,) for n in sizes]))


def budget(allocator: object, given: dict[str, Tensor], density: float) -> list[int]:
    groups = line(*[len(s) for s in given.values()])
    view = SimpleNamespace(every=())
    return allocator.keep(given, groups, density, view).tolist()  # type: ignore[attr-defined]


def test_uniform_rounds_to_the_exact_total() -> None:
    """0.5 of 3, 3 and 5 is 1.5, 1.5 and 2.5: 6 of 11 in all, the halves to the lower index."""
    given = scores([1.0] * 3, [1.0] * 3, [1.0] * 5)
    assert budget(Uniform(), given, 0.5) == [2, 2, 2]
    assert budget(Uniform(), given, 0.1) == [0, 0, 1]


def test_uniform_gives_no_layer_more_than_it_still_has() -> None:
    """Three of ten are to stay and three are left: they do, whatever the shares would be."""
    given = scores([3.0, 2.0], [-math.inf, 1.0, -math.inf], [-math.inf] * 5)
    assert budget(Uniform(), given, 0.3) == [2, 1, 0]


def test_uniform_in_every_scope() -> None:
    t = layers((4, 8), (2, 4))
    given = {x.name: torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) for x in t}
    assert Uniform().keep(given, Model().groups(t), 0.25, None).tolist() == [10]  # type: ignore[arg-type]
    assert Uniform().keep(given, Row().groups(t), 0.5, None).tolist() == [4] * 4 + [2] * 2  # type: ignore[arg-type]
    assert set(Uniform().keep(given, NM().groups(t), 0.5, None).tolist()) == {2}  # type: ignore[arg-type]


HAND = scores([9.0, 8.0, 7.0, 1.0], [6.0, 2.0, 2.0, 2.0], [0.5, 0.4, 0.3, 0.2])


@pytest.mark.parametrize(
    ("allocator", "density", "keep"),
    [
        (ModelWide(), 0.5, [3, 3, 0]),  # 9 8 7 6 2 2: the last layer is gone
        (ModelWide(floor=1), 0.5, [3, 2, 1]),  # it keeps its best, a 2 pays for it
        (ModelWide(floor=0.5), 0.5, [2, 2, 2]),
        (ModelWide(floor=0.3), 2 / 3, [3, 3, 2]),  # 0.3 of four weights is two: rounded up
        (ModelWide(cap=0.75), 0.5, [3, 2, 1]),  # at most three of four may go
        (ModelWide(cap=0.5, floor=1), 7 / 12, [3, 2, 2]),
        (ModelWide(floor=3), 0.75, [3, 3, 3]),
        (ModelWide(floor=100), 1.0, [4, 4, 4]),  # smaller layers stay whole
    ],
)
def test_model_wide_by_hand(allocator: ModelWide, density: float, keep: list[int]) -> None:
    assert budget(allocator, HAND, density) == keep


def test_an_impossible_total_names_the_closest_possible() -> None:
    with pytest.raises(PlanError) as error:
        budget(ModelWide(floor=2), HAND, 0.25)
    text = str(error.value)
    assert "model-wide(floor=2.0)" in text
    assert "cannot keep 3 of 12" in text
    assert "closest possible is 6, density 50 % (sparsity 50 %)" in text


def test_what_is_gone_counts_for_the_cap_and_cannot_be_promised_by_the_floor() -> None:
    given = scores([9.0, -math.inf, -math.inf, -math.inf], [6.0, 2.0, 2.0, 2.0])
    assert budget(ModelWide(floor=2), given, 3 / 8) == [1, 2]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=9), min_size=1),
    st.floats(0.01, 1),
)
def test_without_bounds_it_is_the_model_scope_ties_included(
    values: list[list[float]], density: float
) -> None:
    given = scores(*values)
    targets = layers(*[(len(v),) for v in values])
    local, everything = Tensorwise().groups(targets), Model().groups(targets)
    shared = select(given, local, ModelWide().keep(given, local, density, None))  # type: ignore[arg-type]
    ranked = select(given, everything, Uniform().keep(given, everything, density, None))  # type: ignore[arg-type]
    assert all(torch.equal(shared[n], ranked[n]) for n in given)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.floats(0.01, 1),
    st.sampled_from([0.0, 0.2, 0.5, 1.0, 3.0]),
    st.sampled_from([1.0, 0.9, 0.5]),
    st.integers(0, 2**32),
)
def test_bounds_hold_the_total_is_exact_and_nothing_better_is_possible(
    sizes: list[int], density: float, floor: float, cap: float, seed: int
) -> None:
    """Best: no unit that is out could replace a unit in another layer that is free to go."""
    rng = torch.Generator().manual_seed(seed)
    given = {f"l{i}": torch.rand(n, generator=rng) for i, n in enumerate(sizes)}
    groups = line(*sizes)
    held = least(floor, cap, groups.size, groups.size)
    wanted = keep_count(density, sum(sizes))
    if int(held.sum()) > wanted:
        with pytest.raises(PlanError, match="closest possible"):
            ModelWide(floor=floor, cap=cap).keep(given, groups, density, None)  # type: ignore[arg-type]
        return
    keep = ModelWide(floor=floor, cap=cap).keep(given, groups, density, None)  # type: ignore[arg-type]
    assert int(keep.sum()) == wanted
    assert bool(((keep >= held) & (keep <= groups.size)).all())
    ranked = [s.sort(descending=True).values for s in given.values()]
    best_out = max(
        (float(r[k]) for r, k in zip(ranked, keep, strict=True) if k < len(r)), default=0
    )
    free = [
        float(r[k - 1]) for r, k, low in zip(ranked, keep, held, strict=True) if k > low and k > 0
    ]
    assert min(free, default=1) >= best_out


@pytest.mark.parametrize(
    ("floor", "cap", "expected"),
    [
        (0, 1, [0, 0, 0]),
        (4, 1, [1, 4, 4]),
        (0.25, 1, [1, 3, 25]),
        (0.07, 1, [1, 1, 7]),  # 0.07 * 100 = 7.000000000000001 in floating point
        (0, 0.29, [1, 8, 71]),  # 0.29 * 100 = 28.999999999999996: 29 may go
        (0, 0.4, [1, 6, 60]),
        (0, 0.45, [1, 6, 55]),  # floor(0.45 * 10) = 4 may go
        (70, 0.4, [1, 10, 70]),
    ],
)
def test_the_least_to_keep(floor: float, cap: float, expected: list[int]) -> None:
    size = torch.tensor([1, 10, 100])
    assert least(floor, cap, size, size).tolist() == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"floor": -1}, "floor"),
        ({"floor": 1.5}, "a fraction below 1 or a whole number"),
        ({"floor": math.nan}, "floor"),
        ({"floor": math.inf}, "floor"),
        ({"cap": 0}, "cap"),
        ({"cap": 1.1}, "cap"),
    ],
)
def test_senseless_bounds(fields: dict[str, float], said: str) -> None:
    for make in (ModelWide, lambda **f: Bounded(inner=Uniform(), **f)):
        with pytest.raises(PlanError) as error:
            make(**fields)
        assert said in str(error.value)


def test_bounded_takes_in_proportion_what_it_gives() -> None:
    """Uniform gives 2, 4 and 6 of 4, 8 and 12; the floor of 3 costs the others 0.4 and 0.6."""
    given = scores([1.0] * 4, [1.0] * 8, [1.0] * 12)
    assert budget(Uniform(), given, 0.5) == [2, 4, 6]
    assert budget(Bounded(inner=Uniform(), floor=3), given, 0.5) == [3, 4, 5]
    assert budget(Bounded(inner=Uniform(), floor=2), given, 0.5) == [2, 4, 6]


def test_bounded_leaves_alone_what_is_within_bounds() -> None:
    assert budget(Bounded(inner=ModelWide(), cap=1.0, floor=1), HAND, 0.5) == [3, 2, 1]


def test_bounded_is_what_it_wraps_on_paper_too() -> None:
    wrapped = Bounded(inner=StdThreshold(), floor=2)
    assert not wrapped.uses_density
    assert wrapped.scopes == frozenset({"tensor"})
    assert Bounded(inner=Uniform(), floor=2).uses_density
    assert "model" not in Bounded(inner=Uniform(), floor=2).scopes
    with pytest.raises(PlanError, match="has no bound"):
        Bounded(inner=Uniform())


def test_bounded_says_what_is_possible() -> None:
    with pytest.raises(PlanError, match="closest possible is 9"):
        budget(Bounded(inner=Uniform(), floor=3), HAND, 0.25)
