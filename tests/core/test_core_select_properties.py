"""Selection against a naive stable sort, over every scope, layout and number type."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.core.axes import Scope
from secateur.core.layout import whole
from secateur.core.select import select
from secateur.core.types import Groups, Member, Target
from secateur.scope import NM, Model, Row, Tensorwise

DIMS = (("out", "in"), ("in", "out"), ("out", "in", "k"), ("out", "in", "k", "k"))
SCOPES: tuple[Scope, ...] = (Model(), Tensorwise(), Row(), NM(n=2, m=4), NM(n=1, m=2))
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
FEW = (-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, math.inf)


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, Tensor], Groups, Tensor]:
    """Scores with many ties or none, in some memory order; groups; a budget for each."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    targets = tuple(draw(target(f"t{i}")) for i in range(draw(st.integers(1, 3))))
    groups = draw(st.sampled_from(SCOPES)).groups(targets)
    dtype, tied = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    scores = {t.name: draw_scores(t.shape, dtype, tied, rng) for t in targets}
    scores = {n: strided(s, draw(st.booleans())) for n, s in scores.items()}
    fraction = torch.rand(len(groups.size), generator=rng)
    extreme = torch.randint(0, 4, (len(groups.size),), generator=rng)  # 0: none, 1: all
    keep = (fraction * (groups.size + 1)).long().minimum(groups.size)
    keep = torch.where(extreme == 0, 0, torch.where(extreme == 1, groups.size, keep))
    return scores, groups, keep


@st.composite
def target(draw: st.DrawFn, name: str) -> Target:
    """Single weights of a linear, transposed or convolution layer, inputs a multiple of four."""
    dims = draw(st.sampled_from(DIMS))
    size = {"out": draw(st.integers(1, 5)), "in": 4 * draw(st.integers(1, 3)), "k": 3}
    shape = tuple(size[d] for d in dims)
    return Target(name, "weights", shape, (Member(name, whole(shape)),), dims)


def draw_scores(
    shape: tuple[int, ...], dtype: torch.dtype, tied: bool, rng: torch.Generator
) -> Tensor:
    if tied:
        return torch.tensor(FEW)[torch.randint(0, len(FEW), shape, generator=rng)].to(dtype)
    return torch.randn(shape, generator=rng).to(dtype)


def strided(score: Tensor, swap: bool) -> Tensor:
    """The same values, in memory with the first dimension innermost where `swap` says so."""
    return score.transpose(0, -1).contiguous().transpose(0, -1) if swap else score


def naive(scores: Mapping[str, Tensor], groups: Groups, keep: Tensor) -> dict[str, Tensor]:
    """Sort every group's units by falling score, stably, and keep the first."""
    ids = torch.cat([groups.ids(n) for n in groups.layouts])
    flat = torch.cat([scores[n].reshape(-1) for n in groups.layouts]).double()
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    for g, k in enumerate(keep.tolist()):
        mine = (ids == g).nonzero()[:, 0].tolist()
        ranked = sorted(mine, key=lambda i: -float(flat[i]))  # sorted() is stable
        chosen[ranked[:k]] = True
    parts = chosen.split([scores[n].numel() for n in groups.layouts])
    return {n: p.view(scores[n].shape) for n, p in zip(groups.layouts, parts, strict=True)}


@settings(max_examples=150, deadline=None)
@given(problems())
def test_it_is_a_stable_sort(problem: tuple[dict[str, Tensor], Groups, Tensor]) -> None:
    scores, groups, keep = problem
    before = {n: s.clone() for n, s in scores.items()}
    masks = select(scores, groups, keep)
    expected = naive(scores, groups, keep)
    for name in scores:
        assert masks[name].shape == scores[name].shape
        assert torch.equal(masks[name], expected[name])
        assert torch.equal(scores[name], before[name])
    assert torch.equal(groups.count(masks), keep)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_a_larger_budget_only_adds(problem: tuple[dict[str, Tensor], Groups, Tensor]) -> None:
    scores, groups, keep = problem
    less = select(scores, groups, (keep - 1).clamp(min=0))
    more = select(scores, groups, keep)
    assert all(bool((more[n] | ~less[n]).all()) for n in scores)


@settings(max_examples=50, deadline=None)
@given(problems(), st.sampled_from([0.25, 4.0, 1024.0]))
def test_scaling_all_scores_changes_nothing(
    problem: tuple[dict[str, Tensor], Groups, Tensor], factor: float
) -> None:
    """Powers of two, so that no two scores fall together by rounding."""
    scores, groups, keep = problem
    scaled = {n: s.double() * factor for n, s in scores.items()}
    first, again = select(scores, groups, keep), select(scaled, groups, keep)
    assert all(torch.equal(first[n], again[n]) for n in scores)


def test_scores_that_need_a_gradient_can_be_selected() -> None:
    w = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    t = Target("w", "weights", (2, 4), (Member("w", whole((2, 4))),), ("out", "in"))
    groups = Tensorwise().groups((t,))
    mask = select({"w": w.abs()}, groups, torch.tensor([3]))["w"]
    assert int(mask.sum()) == 3
    assert not mask.requires_grad


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mask_follows_the_memory_order_of_the_scores(dtype: torch.dtype) -> None:
    draw = torch.rand(4, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    score = draw.to(dtype).to(memory_format=torch.channels_last)
    t = Target("w", "weights", (4, 8, 3, 3), (Member("w", whole((4, 8, 3, 3))),), DIMS[3])
    groups = NM().groups((t,))
    mask = select({"w": score}, groups, torch.full_like(groups.size, 2))["w"]
    plain = select({"w": score.contiguous()}, groups, torch.full_like(groups.size, 2))["w"]
    assert mask.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mask, plain)
