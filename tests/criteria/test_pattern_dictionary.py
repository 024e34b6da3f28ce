"""Patterns of kernels, against a dictionary counted kernel by kernel over all subsets of nine places."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError

ENTRIES, COUNT = 4, 3
SUBSETS = [s for s in combinations(range(9), ENTRIES) if 4 in s]  # those with the centre


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 7, 3), nn.Flatten(),
            nn.Linear(7, 3),
        )  # fmt: skip


def kernels(model: nn.Module) -> dict[str, list[list[float]]]:
    """Name -> the 3 x 3 kernels as plain numbers."""
    found = {n: p for n, p in model.named_parameters() if p.dim() == 4 and p.shape[2] == 3}
    return {n: p.detach().double().reshape(-1, 9).tolist() for n, p in found.items()}


def energy(kernel: list[float], places: tuple[int, ...]) -> float:
    return sum(kernel[i] ** 2 for i in places)


def expected(model: nn.Module) -> dict[str, list[tuple[float, tuple[int, ...]]]]:
    """Name -> of each kernel the energy and the places of its pattern."""
    every = kernels(model)
    natural = Counter(
        max(SUBSETS, key=lambda s: energy(k, s)) for rows in every.values() for k in rows
    )
    ranked = sorted(natural, key=lambda s: (-natural[s], s))[:COUNT]
    pick = lambda k: max((energy(k, s), -i, s) for i, s in enumerate(ranked))  # noqa: E731
    return {name: [pick(k)[::2] for k in rows] for name, rows in every.items()}


def test_every_kernel_keeps_the_best_of_the_most_frequent_patterns() -> None:
    model = network()
    masks = sc.prune(model, "patterns", count=COUNT).masks
    wanted = expected(model)
    assert masks.keys() == wanted.keys(), "only 3 x 3 kernels, not 1 x 1 nor linear layers"
    for name, mask in masks.items():
        rows = [tuple(row.nonzero().flatten().tolist()) for row in mask.reshape(-1, 9)]
        assert rows == [places for _, places in wanted[name]]
        assert len(set(rows)) > 1


def test_below_that_the_weakest_kernels_of_each_layer_go_whole() -> None:
    model = network()
    density = ENTRIES / 9 * 0.5
    masks = sc.prune(model, "patterns", count=COUNT, density=density).masks
    wanted = expected(model)
    kept = 0
    for name, mask in masks.items():
        rows = [tuple(row.nonzero().flatten().tolist()) for row in mask.reshape(-1, 9)]
        alive = [i for i, row in enumerate(rows) if row]
        assert abs(len(alive) - len(rows) / 2) <= 1, "the same share of every layer"
        order = sorted(range(len(rows)), key=lambda i: -wanted[name][i][0])
        assert set(alive) == set(order[: len(alive)])
        assert all(rows[i] == wanted[name][i][1] for i in alive)
        kept += len(alive)
    assert sum(len(rows) for rows in wanted.values()) == 47
    assert kept == 23, "94 weights asked for: of the nearest multiples of 4, 92 and 96, the smaller"


def test_dead_kernels_have_no_say_in_the_dictionary() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.zero_()
    masks = sc.prune(model, "patterns", count=1).masks
    alone = nn.Sequential(model[3])
    only = sc.prune(alone, "patterns", count=1, classifier=True).masks["0.weight"]
    assert torch.equal(masks["3.weight"], only)
    assert len({tuple(row.tolist()) for row in only.reshape(-1, 9)}) == 1


def test_densities_that_patterns_cannot_hold_are_refused() -> None:
    with pytest.raises(PlanError, match=r"keep at most 0\.4444"):
        sc.recipe("patterns", density=0.5)
    with pytest.raises(PlanError, match="2 to 8 of 9"):
        sc.recipe("patterns", entries=9)
    with pytest.raises(PlanError, match="kernel of side 3"):
        sc.prune(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)), "patterns")
