"""What the one selection costs: time against torch's own top-k in pairs, and memory in copies.

    python benchmarks/selection.py

Ours and torch's take turns on the same scores, the order changing from pair to pair, so that what
else the machine does falls on both; printed are the median ratio and the range of the middle half.
Memory is the growth of the peak of a fresh process over the scores it holds, in copies of the
scores, with random scores (few ties) and with constant ones (nothing but ties). The targets are at
most 1.5 times top-k with scatter per row of a 4096 x 4096 matrix, and at most 4 extra copies for
25 million scores of a whole model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from secateur.core.layout import whole
from secateur.core.select import select
from secateur.core.types import Groups, Member, Target
from secateur.scope import Model, Row

ROW_LIMIT, COPY_LIMIT = 1.5, 4.0
LAYERS = 10


def targets(*shapes: tuple[int, ...]) -> tuple[Target, ...]:
    """Single weights of linear layers."""
    return tuple(
        Target(f"l{i}", "weights", s, (Member(f"l{i}", whole(s)),), ("out", "in"))
        for i, s in enumerate(shapes)
    )


def random(targets: tuple[Target, ...], constant: bool = False) -> dict[str, Tensor]:
    """Scores drawn in place, so that nothing else is held."""
    rng = torch.Generator().manual_seed(0)
    scores = {t.name: torch.ones(t.shape) for t in targets}
    for score in scores.values() if not constant else ():
        score.normal_(generator=rng)
    return scores


def whole_model(units: int) -> tuple[tuple[Target, ...], Groups]:
    """`units` single weights in ten layers, all in one group."""
    parts = targets(*[(units // LAYERS // 1000, 1000)] * LAYERS)
    return parts, Model().groups(parts)


def pairs(ours: Callable[[], object], theirs: Callable[[], object], count: int) -> list[float]:
    """Ratios ours / theirs of `count` pairs, after one of each to warm up."""
    ours(), theirs()
    ratios = []
    for number in range(count):
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        taken = {work: _seconds(work) for work in order}
        ratios.append(taken[ours] / taken[theirs])
    return ratios


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def said(ratios: list[float]) -> str:
    """Median and middle half."""
    low, middle, high = torch.tensor(ratios).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return f"{middle:.2f} (middle half {low:.2f} to {high:.2f})"


def rows(size: int, count: int) -> str:
    """Half of every row of a size x size matrix."""
    parts = targets((size, size))
    groups, scores = Row().groups(parts), random(parts)
    score, k = scores["l0"], size // 2
    keep = torch.full((size,), k)

    def theirs() -> Tensor:
        best = score.topk(k, dim=1).indices
        return torch.zeros_like(score, dtype=torch.bool).scatter_(1, best, True)

    def ours() -> Tensor:
        return select(scores, groups, keep)["l0"]

    same(ours(), theirs(), score)
    return f"rows of {size} x {size}: {said(pairs(ours, theirs, count))} of top-k with scatter"


def everything(units: int, count: int, density: float) -> list[str]:
    """A share of all units of a model, against top-k and the k-th value of one long tensor."""
    parts, groups = whole_model(units)
    scores = random(parts)
    n = int(groups.size)
    k = int(n * density)

    def joined() -> Tensor:
        return torch.cat([s.view(-1) for s in scores.values()])

    def topk() -> Tensor:
        return torch.zeros(n, dtype=torch.bool).scatter_(0, joined().topk(k).indices, True)

    def kthvalue() -> Tensor:
        flat = joined()
        return flat >= flat.kthvalue(n - k + 1).values

    def ours() -> dict[str, Tensor]:
        return select(scores, groups, torch.tensor([k]))

    same(torch.cat([m.view(-1) for m in ours().values()]), topk(), joined())
    what = f"{density:g} of {n:,} units"
    return [
        f"{what}: {said(pairs(ours, topk, count))} of top-k with scatter",
        f"{what}: {said(pairs(ours, kthvalue, count))} of the k-th value with a comparison "
        "(which keeps too many where scores tie)",
    ]


def late(units: int, count: int, gone: float = 0.99) -> str:
    """A late round of iterative pruning, when most scores are -inf, against the first round."""
    parts, groups = whole_model(units)
    first, last = random(parts), random(parts)
    rng = torch.Generator().manual_seed(1)
    for score in last.values():
        score.masked_fill_(torch.rand(score.shape, generator=rng) < gone, -torch.inf)
    n = int(groups.size)
    many, few = torch.tensor([n * 9 // 10]), torch.tensor([int(n * (1 - gone) * 0.9)])
    ratios = pairs(lambda: select(last, groups, few), lambda: select(first, groups, many), count)
    return f"a round with {gone:.0%} of {n:,} units gone: {said(ratios)} of the first round"


def same(ours: Tensor, theirs: Tensor, score: Tensor) -> None:
    """Both keep as many, and the same scores; which of several equal ones may differ."""
    assert torch.equal(ours.sum(-1), theirs.sum(-1))
    assert torch.equal(score[ours].sort().values, score[theirs].sort().values)


def copies(units: int, density: float, constant: bool) -> float:
    """Growth of this process' peak memory over one selection, in copies of the scores."""
    small, one = whole_model(10_000)
    select(random(small), one, one.size // 2)  # so that the code itself is in memory
    parts, groups = whole_model(units)
    scores = random(parts, constant)
    keep = (groups.size * density).long()
    before = peak()
    select(scores, groups, keep)
    return (peak() - before) / (4 * int(groups.size))


def peak() -> int:
    """Bytes this process has held at most (not what it inherits from its parent's peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel tells no peak memory (VmHWM in /proc/self/status)")


def fresh(units: int, density: float, kind: str) -> float:
    """`copies` measured in a process of its own."""
    command = [sys.executable, __file__, "--copies", kind, "--units", str(units)]
    command += ["--density", str(density)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the matrix")
    parser.add_argument("--units", type=int, default=25_000_000, help="units of the whole model")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--copies", choices=["random", "constant"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.copies:
        print(copies(options.units, options.density, options.copies == "constant"))
        return
    print(rows(options.size, options.pairs), f"(limit {ROW_LIMIT})")
    print("\n".join(everything(options.units, options.pairs, options.density)))
    print(late(options.units, options.pairs))
    for kind in ("random", "constant"):
        extra = fresh(options.units, options.density, kind)
        print(f"memory, {kind} scores: {extra:.2f} extra copies (limit {COPY_LIMIT:g})")


if __name__ == "__main__":
    main()
