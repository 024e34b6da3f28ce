"""Attention of any number of heads: torch's own where both can, and its heads taken out by hand."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.structure.attention import NarrowAttention, fits

OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "vdim": 10, "batch_first": True},
    {"kdim": 6, "vdim": 10, "add_bias_kv": True, "bias": False},
]
HEADS, WIDTH, BATCH, LENGTH, KEYS = 3, 4, 2, 5, 7


def built(options: dict[str, Any], dropout: float = 0.0) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(HEADS * WIDTH, HEADS, dropout=dropout, **options)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.eval()


def turned(module: nn.MultiheadAttention) -> NarrowAttention:
    other = copy.deepcopy(module)
    other.__class__ = NarrowAttention
    return other


def given(module: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((LENGTH, module.embed_dim), (KEYS, module.kdim), (KEYS, module.vdim))
    drawn = [torch.randn(n, BATCH, width) for n, width in shapes]
    q, k, v = (x.transpose(0, 1) if module.batch_first else x for x in drawn)
    return q, k, v


MASKS: dict[str, dict[str, Tensor]] = {
    "none": {},
    "bool": {"attn_mask": torch.ones(LENGTH, KEYS).triu(2).bool()},
    "float": {"attn_mask": torch.linspace(-2, 2, LENGTH * KEYS).view(LENGTH, KEYS)},
    "by head": {"attn_mask": torch.arange(BATCH * HEADS * LENGTH * KEYS).view(-1, LENGTH, KEYS) % 5 == 3},
    "padding": {"key_padding_mask": torch.tensor([[False] * KEYS, [False] * 4 + [True] * 3])},
    "both": {
        "attn_mask": torch.ones(LENGTH, KEYS).triu(3).bool(),
        "key_padding_mask": torch.tensor([[False] * KEYS, [False] * 4 + [True] * 3]),
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("masks", MASKS)
def test_it_is_torchs_own_where_both_can(options: dict[str, Any], masks: str) -> None:
    module = built(options)
    for need, average in ((True, True), (True, False), (False, True)):
        call = {"need_weights": need, "average_attn_weights": average, **MASKS[masks]}
        inputs = given(module)
        wanted, shares = module(*inputs, **call)
        found, mine = turned(module)(*inputs, **call)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert (mine is None) == (shares is None)
        if shares is not None:
            torch.testing.assert_close(mine, shares, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("batch_first", "need", "added"), product([True, False], [True, False], [True, False])
)
def test_self_attention_with_a_causal_hint_and_without_a_batch(batch_first, need, added) -> None:
    module = built({"batch_first": batch_first, "add_bias_kv": added})
    other, mask = turned(module), nn.Transformer.generate_square_subsequent_mask(LENGTH)
    for shape in ((BATCH, LENGTH, 12), (LENGTH, 12)):
        x = torch.randn(shape)
        x = x if batch_first or x.dim() == 2 else x.transpose(0, 1)
        call = {"attn_mask": mask, "is_causal": True, "need_weights": need}
        for mine, torchs in zip(other(x, x, x, **call), module(x, x, x, **call), strict=True):
            assert (mine is None) == (torchs is None)
            if mine is not None:
                torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError, match="pass the mask"):
        other(x, x, x, is_causal=True)


def test_dropout_drops_the_shares_of_values_in_training_alone() -> None:
    module = turned(built({"batch_first": True}, dropout=0.5))
    x = torch.randn(1, LENGTH, 12)
    assert torch.equal(module(x, x, x)[0], module(x, x, x)[0])
    module.train()
    shares = module(x, x, x, average_attn_weights=False)[1]
    assert 0.2 < (shares == 0).float().mean() < 0.8
    assert not torch.equal(
        module(x, x, x, need_weights=False)[0], module(x, x, x, need_weights=False)[0]
    )


@pytest.mark.parametrize("options", [o for o in OPTIONS if "add_zero_attn" not in o], ids=str)
def test_without_a_head_it_computes_what_torch_does_with_that_heads_values_at_zero(options) -> None:
    module = built(options)
    keep = torch.tensor([0, 2])
    rows = (keep[:, None] * WIDTH + torch.arange(WIDTH)).reshape(-1)
    masked = copy.deepcopy(module)
    gone = [i for i in range(HEADS * WIDTH) if i not in rows.tolist()]
    with torch.no_grad():
        masked.out_proj.weight[:, gone] = 0
    small = turned(module)
    with torch.no_grad():
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(small, name) is not None:
                setattr(small, name, nn.Parameter(getattr(small, name)[rows]))
        for name in ("in_proj_weight", "in_proj_bias"):
            if getattr(small, name) is not None:
                parts = getattr(small, name).chunk(3)
                setattr(small, name, nn.Parameter(torch.cat([part[rows] for part in parts])))
        for name in ("bias_k", "bias_v"):
            if getattr(small, name) is not None:
                setattr(small, name, nn.Parameter(getattr(small, name)[..., rows]))
        small.out_proj.weight = nn.Parameter(small.out_proj.weight[:, rows])
    assert fits(module)
    assert not fits(small)
    small.num_heads = 2
    inputs = given(module)
    torch.testing.assert_close(small(*inputs)[0], masked(*inputs)[0], rtol=1e-5, atol=1e-5)
