"""Targets name exactly the elements that removal takes away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secateur.structure.graph import trace
from secateur.structure.graph.edit import sliced
from secateur.structure.graph.positions import places
from secateur.structure.graph.targets import layouts, targets_of
from secateur.structure.graph.terms import Cat, Fix, Var
from tests.structure.graph.zoo.table import make


@pytest.mark.parametrize(
    "name", ["fused_decoder", "shufflenet", "resnext", "recurrent", "vgg", "einsum", "gpt2"]
)
def test_a_unit_owns_what_goes_with_it(name: str) -> None:
    """Zeros written through the layouts of unit u are just the elements that removing u takes away."""
    model, (args, kwargs) = make(name)
    traced = trace(model, args, kwargs, dynamic=False)
    tensors = traced.inference.captured.tensors
    for axis, target in zip(traced.axes, targets_of(traced, traced.axes), strict=True):
        unit = axis.units // 2
        marked = {n: torch.zeros(t.shape) for n, t in tensors.items()}
        for member in target.members:
            member.layout.view(marked[member.param])[unit] = 1
        kept = {axis.var: np.delete(np.arange(axis.units), unit)}
        left = sliced(traced.inference, kept, {n: torch.ones(t.shape) for n, t in tensors.items()})
        for tensor in {m.param for m in target.members}:
            assert marked[tensor].sum() == marked[tensor].numel() - left[tensor].numel()
        cut = sliced(traced.inference, kept, marked)
        assert all(not cut[m.param].any() for m in target.members)


def test_places_with_gaps_become_several_layouts() -> None:
    v, w = Var(2), Var(3)
    term = (Fix(2), Cat(((v,), (w,))), Fix(2))  # 2 rows of (2 + 3) pairs
    (place,) = places(term, w)
    views = [layout.view(torch.arange(20)).tolist() for layout in layouts((20,), 0, place, 3)]
    assert views == [[[4, 5], [6, 7], [8, 9]], [[14, 15], [16, 17], [18, 19]]]


def test_only_axes_on_by_default_are_targets() -> None:
    model, (args, kwargs) = make("fused_decoder")
    traced = trace(model, args, kwargs, dynamic=False)
    kinds = {t.kind for t in targets_of(traced)}
    assert "rope" not in kinds
    assert {"heads", "neurons", "residual width"} <= kinds
