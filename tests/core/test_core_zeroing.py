"""Zeroing by a mask against `masked_fill_`, for all dtypes and layouts."""

import pytest
import torch

from secateur.core.zeroing import CHUNK, zero


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_same_bits_as_a_fill(dtype, turned):
    torch.manual_seed(0)
    values = (torch.randn(3, CHUNK // 2 + 5) * 10).to(getattr(torch, dtype))
    keep = torch.rand(values.shape) > 0.5
    if values.is_floating_point():
        values[0, :3] = torch.tensor([torch.inf, -torch.inf, torch.nan])
        keep[0, :3] = False
    expected = values.masked_fill(~keep, 0)
    got = values.T.contiguous().T if turned else values
    zero(got, keep)
    assert torch.equal(got, expected)
    if got.is_floating_point():
        assert not bool(got[~keep].signbit().any())
