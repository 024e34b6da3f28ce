"""How much the masks of methods and seeds have in common, against what chance would give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...core.errors import PlanError
from ...engine.store import FolderStore
from ..config import Planned
from ..statistics import mask_overlap

if TYPE_CHECKING:
    from ..runner import Runner

Masks = Mapping[str, Tensor]


def overlap(runner: Runner, sparsity: float | None = None) -> dict[str, Any]:
    """Jaccard overlap |A ∩ B| / |A ∪ B| of the kept weights of every pair of runs.

    Each run contributes the point whose sparsity is nearest to `sparsity` (default: the largest
    that every pruned run comes within two percentage points of, else the median final one).
    `chance` is the overlap of independent masks with the same densities per layer (see
    `statistics.mask_overlap`).
    """
    runs = [(p, points) for p in runner.planned if (points := _pruned_points(runner, p))]
    if len(runs) < 2:
        raise PlanError("analysis 'overlap' compares at least two pruned runs; none are finished")
    wanted = sparsity if sparsity is not None else _common([points for _, points in runs])
    chosen = _one_per_label(runner, runs, wanted)
    masks = [(f"{p.label} · {p.seed}", _masks(runner, p, n)) for p, n in chosen]
    pairs = [[mask_overlap(a, b) for _, b in masks] for _, a in masks]
    return {
        "kind": "overlap",
        "sparsity": wanted,
        "labels": [label for label, _ in masks],
        "jaccard": [[pair.jaccard for pair in row] for row in pairs],
        "chance": [[pair.chance_jaccard for pair in row] for row in pairs],
    }


def _pruned_points(runner: Runner, planned: Planned) -> dict[int, float]:
    """Point number -> sparsity of the pruned, recovered states of a finished run."""
    result = runner.result(planned)
    if result is None:
        return {}
    points = enumerate(result["points"])
    return {n: p["sparsity"] for n, p in points if p["sparsity"] > 0 and p["moment"] != "pruned"}


def _common(runs: list[dict[int, float]]) -> float:
    """The largest sparsity that every run comes near to."""
    every = sorted({s for points in runs for s in points.values()}, reverse=True)
    for candidate in every:
        if all(min(abs(s - candidate) for s in points.values()) <= 0.02 for points in runs):
            return candidate
    return every[len(every) // 2]


def _one_per_label(
    runner: Runner, runs: list[tuple[Planned, dict[int, float]]], wanted: float
) -> list[tuple[Planned, int]]:
    """Of the runs with one label and seed, the point nearest to the sparsity."""
    best: dict[tuple[str, int], tuple[float, Planned, int]] = {}
    for planned, points in runs:
        number, found = min(points.items(), key=lambda item: abs(item[1] - wanted))
        key, gap = (planned.label, planned.seed), abs(found - wanted)
        if key not in best or gap < best[key][0]:
            best[key] = (gap, planned, number)
    return [(planned, number) for _, planned, number in best.values()]


def _masks(runner: Runner, planned: Planned, number: int) -> Masks:
    saved = FolderStore(runner.folder(planned)).get(f"point-{number:02d}")
    assert saved is not None
    return saved.masks
