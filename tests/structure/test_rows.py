"""Rows and filters with their biases."""

from __future__ import annotations

import torch
from torch import nn

from secateur.core.types import Target, element_masks, keep_all
from secateur.structure import Rows


def targets(model: nn.Module) -> dict[str, Target]:
    return {t.name: t for t in Rows(classifier=True).targets(model)}


def members(target: Target) -> list[str]:
    return [m.param for m in target.members]


def gone(model: nn.Module, name: str, unit: int) -> dict[str, torch.Tensor]:
    """Masks of the elements when one row goes."""
    rows = tuple(targets(model).values())
    masks = keep_all(rows)
    masks[name][unit] = False
    return element_masks(rows, masks, {n: p.shape for n, p in model.named_parameters()})


def test_a_row_is_a_weight_row_and_its_bias() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    rows = targets(model)["0.weight[rows]"]
    assert (rows.kind, rows.shape, rows.dims) == ("rows", (2,), ("out",))
    assert members(rows) == ["0.weight", "0.bias"]
    masks = gone(model, "0.weight[rows]", 1)
    assert masks["0.weight"].int().tolist() == [[1, 1, 1], [0, 0, 0]]
    assert masks["0.bias"].tolist() == [True, False]


def test_a_filter_of_a_convolution_and_of_a_transposed_one() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ConvTranspose1d(3, 2, 2))
    assert bool((~gone(model, "0.weight[rows]", 2)["0.weight"])[2].all())
    masks = gone(model, "1.weight[rows]", 1)  # [in, out, k]
    assert masks["1.weight"].int().tolist() == [[[1, 1], [0, 0]]] * 3
    assert masks["1.bias"].tolist() == [True, False]


def test_without_a_bias() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    assert members(targets(model)["0.weight[rows]"]) == ["0.weight"]


def test_a_bare_layer_has_no_prefix() -> None:
    assert members(targets(nn.Linear(3, 2))["weight[rows]"]) == ["weight", "bias"]


def test_biases_of_attention_and_recurrent_layers() -> None:
    model = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2), "r": nn.GRU(4, 2)})
    found = targets(model)
    assert members(found["a.in_proj_weight[rows]"]) == ["a.in_proj_weight", "a.in_proj_bias"]
    assert members(found["a.out_proj.weight[rows]"]) == ["a.out_proj.weight", "a.out_proj.bias"]
    assert members(found["r.weight_ih_l0[rows]"]) == ["r.weight_ih_l0", "r.bias_ih_l0"]
    assert members(found["r.weight_hh_l0[rows]"]) == ["r.weight_hh_l0", "r.bias_hh_l0"]
