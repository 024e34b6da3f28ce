"""Choices of kept units, made from a seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import nn

from secateur.structure.graph import Axis, Trace
from secateur.structure.graph.edit import sliced
from secateur.structure.graph.positions import Kept


def half(axes: Iterable[Axis], seed: int = 0) -> Kept:
    """Half of the units of every axis, at least one, drawn at random."""
    rng = np.random.default_rng(seed)
    return {a.var: _draw(rng, a.units, max(1, a.units // 2)) for a in axes}


def some(axes: Iterable[Axis], seed: int = 0) -> Kept:
    """A random half of the axes, each at a sparsity of its own."""
    rng = np.random.default_rng(seed)
    chosen = [a for a in axes if rng.random() < 0.5]
    keep = [max(1, round(a.units * (1 - rng.choice([0.1, 0.3, 0.5, 0.8])))) for a in chosen]
    return {a.var: _draw(rng, a.units, n) for a, n in zip(chosen, keep, strict=True)}


def _draw(rng: np.random.Generator, units: int, n: int) -> np.ndarray:
    return np.sort(rng.permutation(units)[:n])


def kept_parameters(traced: Trace, kept: Kept) -> float:
    """The fraction of parameters left after a removal."""
    before = traced.inference.captured.tensors
    after = sliced(traced.inference, kept)

    def count(tensors: dict) -> int:
        once = {id(t): t for t in tensors.values() if isinstance(t, nn.Parameter)}
        return sum(t.numel() for t in once.values())

    return count(after) / count(before)
