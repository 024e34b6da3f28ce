"""Thresholds of rows: both ways to them find the same values."""

from __future__ import annotations

import pytest
import torch

from secateur.core.kth import _by_numpy, _by_torch, count_rows, kth_rows

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [[1, 1, 1], [5, 5, 5], [9, 9, 9], [1, 5, 9]])
def test_both_ways_agree_with_a_sort(dtype: torch.dtype, k: list[int]) -> None:
    rng = torch.Generator().manual_seed(0)
    score = torch.randint(-3, 4, (3, 9), generator=rng).to(dtype)
    before = score.clone()
    expected = score.sort(dim=1, descending=True).values.gather(1, torch.tensor(k)[:, None] - 1)
    rank = 9 - torch.tensor(k)
    span = (int(rank.min()), int(rank.max()))
    assert torch.equal(kth_rows(score, torch.tensor(k)), expected)
    for way in (_by_numpy, _by_torch):
        found = way(score, rank, *span)
        assert found.dtype == dtype
        assert torch.equal(found, expected)
    assert torch.equal(score, before)


def test_scores_in_another_memory_order() -> None:
    score = torch.tensor([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]]).t().contiguous().t()
    assert kth_rows(score, torch.tensor([1, 1])).tolist() == [[3.0], [6.0]]
    assert score.tolist() == [[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]]


def test_counting() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert count_rows(mask).tolist() == [2, 0]
    assert count_rows(mask.t()).tolist() == [1, 0, 1]
