"""Thresholds of rows: both ways to them find the same values."""

from __future__ import annotations

import pytest
import torch

from secateur.core.kth import (
    SAMPLE,
    _by_numpy,
    _by_torch,
    _near,
    _sample,
    at_least,
    count_rows,
    kth_rows,
)

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


@pytest.mark.parametrize("value", [-torch.inf, 0.0, 0.7])
@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_mostly_one_value(rows: int, share: float, value: float) -> None:
    """They are cut at that value, or sorted; the threshold is the same."""
    rng = torch.Generator().manual_seed(0)
    score = torch.randn(rows, 5000, generator=rng)
    score[torch.rand(score.shape, generator=rng) < share] = value
    before, sorted_ = score.clone(), score.sort(descending=True).values
    for k in (1, 2, 40, 1200, 2500, 4000, 4999, 5000):
        found = kth_rows(score, torch.full((rows,), k))
        assert torch.equal(found, sorted_[:, k - 1 : k])
    assert torch.equal(score, before)


def test_few_values_cut_again_and_again() -> None:
    score = (torch.arange(10_000) * 7 % 8).float()[None]
    for k in (1, 1250, 1251, 5000, 8751, 10_000):
        assert kth_rows(score, torch.tensor([k])).item() == 7 - (k - 1) // 1250


def test_scores_in_another_memory_order() -> None:
    score = torch.tensor([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]]).t().contiguous().t()
    assert kth_rows(score, torch.tensor([1, 1])).tolist() == [[3.0], [6.0]]
    assert score.tolist() == [[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]]


def test_counting() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert count_rows(mask).tolist() == [2, 0]
    assert count_rows(mask.t()).tolist() == [1, 0, 1]


@pytest.mark.parametrize("fooled", [False, True])
def test_long_rows_are_narrowed_by_a_sample(fooled: bool) -> None:
    """Also where the sample, values at equal distances, is nothing like the rest."""
    score = torch.randn(1, 40 * SAMPLE, generator=torch.Generator().manual_seed(0))
    if fooled:
        score[:, ::40] += 100
    before, sorted_ = score.clone(), score.sort(descending=True).values
    for k in (1, 2, 100, 30 * SAMPLE, 40 * SAMPLE - 1, 40 * SAMPLE):
        assert torch.equal(kth_rows(score, torch.tensor([k])), sorted_[:, k - 1 : k])
    values = score[0].numpy()
    inside, _ = _near(values, 20 * SAMPLE, _sample(values))
    assert (len(inside) == 40 * SAMPLE) == fooled
    assert torch.equal(score, before)


def test_bounds_that_miss_are_widened() -> None:
    """A sample with 96 values too many from the lower half: 64 places are too few, 128 are not."""
    ranks, half = torch.arange(40.0 * SAMPLE), 20 * SAMPLE
    lower = torch.linspace(0, half - 1, SAMPLE // 2 + 96).long()
    upper = torch.linspace(half, 2 * half - 1, SAMPLE // 2 - 96).long()
    seen = torch.zeros(2 * half, dtype=torch.bool)
    seen[lower] = seen[upper] = True
    values = torch.empty(SAMPLE, 40)
    values[:, 0], values[:, 1:] = ranks[seen], ranks[~seen].view(SAMPLE, 39)
    row = values.view(-1).numpy()
    inside, place = _near(row, half, _sample(row))
    assert inside.min() > 0
    assert len(inside) < len(row) / 10
    assert sorted(inside)[place] == half
    assert kth_rows(values.view(1, -1), torch.tensor([half])).item() == half


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_at_least_compares_row_by_row(dtype: torch.dtype) -> None:
    score = torch.randn(5, 33, generator=torch.Generator().manual_seed(0)).to(dtype)
    threshold = score[:, 7:8].clone()
    for given in (score, score.t().contiguous().t()):
        assert at_least(given, threshold).tolist() == [
            [x >= bound for x in row]
            for row, (bound,) in zip(score.tolist(), threshold.tolist(), strict=True)
        ]
