"""Products that weights and inputs as matrices need."""

from __future__ import annotations

import pytest
import torch

from secateur.core.matrix import gram


@pytest.mark.parametrize("rows", [(7, 5), (0, 3), (1, 1), (300, 40)])
def test_gram_matrices_are_products_and_symmetric_to_the_bit(rows: tuple[int, int]) -> None:
    x = torch.randn(rows, generator=torch.Generator().manual_seed(0))
    found = gram(x)
    torch.testing.assert_close(found, (x.double().mT @ x.double()).float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(found, found.mT)
    torch.testing.assert_close(gram(x.repeat(1, 2)[:, ::2]), gram(x.repeat(1, 2)[:, ::2].clone()))


def test_gram_matrices_of_any_kind_of_tensor() -> None:
    with torch.inference_mode():
        inferred = torch.ones(3, 2)
        assert gram(inferred).tolist() == [[3, 3], [3, 3]]
    learning = torch.ones(3, 2, requires_grad=True)
    assert not gram(learning).requires_grad
    assert gram(torch.ones(3, 2, dtype=torch.float64)).dtype == torch.float64
    assert gram(torch.ones(3, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16
