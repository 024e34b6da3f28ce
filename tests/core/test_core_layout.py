"""Layouts: views that split, permute and narrow, and write back where they came from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import PlanError
from secateur.core.layout import Layout, along, one_group, whole


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...]]:
    """A layout and the shape of a tensor that it fits: some dimensions split, all permuted."""
    extents = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
    split: list[int] = []
    for n in extents:
        factor = draw(st.sampled_from([f for f in (1, 2, 3) if n % f == 0]))
        split += [n // factor, factor] if factor > 1 else [n]
    perm = tuple(draw(st.permutations(range(len(split)))))
    shape, narrow = list(extents), None
    if draw(st.booleans()):
        dim, before, after = 0, draw(st.integers(0, 2)), draw(st.integers(0, 2))
        narrow = (dim, before, extents[dim])
        shape[dim] += before + after
    return Layout(tuple(split), perm, draw(st.integers(0, len(split))), narrow), tuple(shape)


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_writing_through_the_view_and_reading_gives_it_back(
    case: tuple[Layout, tuple[int, ...]],
) -> None:
    layout, shape = case
    tensor = torch.zeros(shape, dtype=torch.long)
    view = layout.view(tensor)
    numbers = torch.arange(1, view.numel() + 1).view(view.shape)
    view.copy_(numbers)
    assert torch.equal(layout.view(tensor), numbers)
    assert torch.equal(layout.matrix(tensor), numbers.reshape(layout.units, layout.size))
    assert int((tensor > 0).sum()) == layout.units * layout.size  # each number lands once
    assert layout.units * layout.size == numbers.numel()


@settings(max_examples=80, deadline=None)
@given(layouts())
def test_memory_order_does_not_matter(case: tuple[Layout, tuple[int, ...]]) -> None:
    layout, shape = case
    tensor = torch.arange(torch.Size(shape).numel()).view(shape)
    swapped = tensor.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(layout.matrix(tensor), layout.matrix(swapped))


def test_the_ready_made_ones() -> None:
    w = torch.arange(6).view(2, 3)
    assert whole((2, 3)).matrix(w).tolist() == [[0], [1], [2], [3], [4], [5]]
    assert one_group((2, 3)).matrix(w).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert along((2, 3), 0).matrix(w).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert along((2, 3), 1).matrix(w).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_narrow_takes_a_slice_of_one_dimension() -> None:
    """Queries of a fused query-key-value weight: the first two of six rows, one head each."""
    w = torch.arange(12).view(6, 2)
    heads = Layout((2, 1, 2), (0, 1, 2), lead=1, narrow=(0, 0, 2))
    assert heads.matrix(w).tolist() == [[0, 1], [2, 3]]
    keys = Layout((2, 1, 2), (0, 1, 2), lead=1, narrow=(0, 2, 2))
    assert keys.matrix(w).tolist() == [[4, 5], [6, 7]]


def test_a_tensor_of_another_size_is_refused() -> None:
    with pytest.raises(PlanError, match=r"\(2, 3\).*\(2, 4\)"):
        whole((2, 3)).view(torch.zeros(2, 4))
