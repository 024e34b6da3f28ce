"""Which rows of what flows through a layer are real."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import DataError
from secateur.core.padding import valid_of, valid_only

VALID = torch.tensor([[False, True, True], [True, False, True]])
REAL = [1, 2, 3, 5]


def test_tokens_that_are_padding_go_whatever_the_layer_sees() -> None:
    x = torch.arange(12.0).view(2, 3, 2)
    rows = x.view(6, 2)[REAL]
    assert torch.equal(valid_only(x, VALID, "w"), rows)
    assert torch.equal(valid_only(x.view(6, 2), VALID, "w"), rows)
    assert torch.equal(valid_only(x[:, 0], VALID, "w"), x[:, 0])  # one row a sample
    assert torch.equal(valid_only(x, None, "w"), x)


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(DataError, match=r"'w' has shape \(4, 2\), the padding mask \(2, 3\)"):
        valid_only(torch.zeros(4, 2), VALID, "w")


def test_a_batch_says_it_by_its_attention_mask() -> None:
    mask = VALID.long()
    for batch in ({"attention_mask": mask}, ({"attention_mask": mask}, None)):
        found = valid_of(batch)
        assert found is not None
        assert torch.equal(found, VALID)
    assert valid_of({"attention_mask": mask[:, None]}) is None  # who sees whom, not what is there
    assert valid_of(torch.zeros(2, 3)) is None
