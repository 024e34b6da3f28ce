"""The one selection of the whole code: exactly k units of each group stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import NumberError, PlanError
from .kth import at_least, count_rows, kth_rows
from .types import Groups, Scores

CHUNK = 1 << 20
"""Elements looked at together where ties are broken."""

FEW = 8
"""Units of a group up to which they are compared with each other one by one."""


def select(scores: Scores, groups: Groups, keep: Tensor) -> dict[str, Tensor]:
    """Keep exactly `keep[g]` units of each group: higher score stays, ties go to the lower index.

    Indices run over a group's units in the order of the targets, then row-major in the target's
    grid; the result is the same on every device and in every run.

    Args:
        scores: target name -> [target.shape] float, NaN refused; -inf marks what must go last,
            +inf what must stay first.
        groups: which units are compared.
        keep: [G] int64, 0 <= keep[g] <= groups.size[g].

    Returns:
        Target name -> bool of the target's shape, True = keep.

    >>> from secateur.core.layout import along
    >>> g = Groups({"w": along((2, 3), 0)}, {"w": 0}, torch.tensor([3, 3]))
    >>> select({"w": torch.tensor([[1., 1., 1.], [3., 1., 2.]])}, g, torch.tensor([2, 1]))["w"].int().tolist()
    [[1, 1, 0], [1, 0, 0]]
    """
    keep = keep.to(torch.long).cpu()
    if keep.shape != groups.size.shape or bool(((keep < 0) | (keep > groups.size)).any()):
        raise PlanError(
            f"budgets {keep.tolist()[:8]} do not fit groups of size {groups.size.tolist()[:8]}"
        )
    masks = {name: torch.empty_like(scores[name], dtype=torch.bool) for name in groups.layouts}
    for name in masks:
        if scores[name].numel() and bool(torch.isnan(scores[name].amax())):  # a NaN is the largest
            raise NumberError(f"score of '{name}' is NaN; check the weights and the loss for NaN")
    for names in _clusters(groups):
        if len(names) == 1:
            _rows(scores[names[0]], groups, names[0], keep, masks[names[0]])
        else:
            _shared(scores, groups, names, keep, masks)
    return masks


def _clusters(groups: Groups) -> list[list[str]]:
    """Targets that share group ids, together; each cluster can be selected on its own."""
    spans = {n: (groups.first[n], groups.first[n] + groups.layouts[n].units) for n in groups.first}
    clusters: list[list[str]] = []
    end = -1
    for name in sorted(spans, key=lambda n: spans[n]):
        start, stop = spans[name]
        if clusters and start < end:
            clusters[-1].append(name)
        else:
            clusters.append([name])
        end = max(end, stop)
    order = {name: i for i, name in enumerate(groups.layouts)}
    return [sorted(names, key=order.__getitem__) for names in clusters]


def _rows(score: Tensor, groups: Groups, name: str, keep: Tensor, out: Tensor) -> None:
    """Groups that lie in one target: a matrix of groups, all of them in one go."""
    layout, first = groups.layouts[name], groups.first[name]
    k = keep[first : first + layout.units].to(score.device)  # [G]
    chosen = keep_rows(layout.matrix(score), k)  # [G, n]
    view = layout.view(out)
    view.copy_(chosen.reshape(view.shape))


def keep_rows(score: Tensor, k: Tensor) -> Tensor:
    """The k[g] best of each row of `score` [G, n], as bool [G, n].

    The threshold of a row is its k-th largest score; where several units tie at it and not all of
    them fit, the lower indices get the places.
    """
    if not score.numel():
        return torch.zeros_like(score, dtype=torch.bool)
    if score.shape[1] <= FEW:
        return _of_few(score, k)
    threshold = kth_rows(score, k.clamp(min=1))  # [G, 1]
    chosen = at_least(
        score, threshold
    )  # at least k; where k is 0, the ties at the largest, all dropped
    _drop_ties(score, threshold, chosen, count_rows(chosen) - k)
    return chosen


def _of_few(score: Tensor, k: Tensor) -> Tensor:
    """A unit stays if fewer than k of its group come before it: larger ones, and equal lower ones.

    Looked at unit by unit, [n, G], which is how the answer lies in memory.
    """
    units = score.T.contiguous()
    index = torch.arange(len(units), dtype=torch.int8, device=score.device)
    before = index[:, None].repeat(1, units.shape[1])  # [n, G]: as if all were equal
    for high in range(1, len(units)):
        for low in range(high):
            larger = (units[high] > units[low]).view(torch.int8)
            before[low] += larger
            before[high] -= larger
    return (before < k.to(torch.int8)).T


def _drop_ties(score: Tensor, threshold: Tensor, chosen: Tensor, excess: Tensor) -> None:
    """Take the last `excess` [G] units at the threshold out of `chosen`, from the right.

    It goes chunk by chunk, so that 25 million ties need no more memory than a few thousand.
    """
    stop = score.shape[1]
    rows = excess.nonzero()[:, 0]  # rows with more at the threshold than places
    while len(rows):
        start = max(0, stop - max(1, CHUNK // len(rows)))
        part = chosen[:, start:stop]
        ties = (score[:, start:stop] == threshold)[rows]  # [rows, chunk]
        from_right = ties.flip(1).cumsum(1, dtype=torch.int32).flip(1)
        part[rows] = part[rows] & ~(ties & (from_right <= excess[rows, None]))
        excess = excess.index_add(0, rows, -from_right[:, 0].long()).clamp(min=0)
        rows = excess.nonzero()[:, 0]
        stop = start


def _shared(
    scores: Scores, groups: Groups, names: Sequence[str], keep: Tensor, out: dict[str, Tensor]
) -> None:
    """Groups that span several targets: group by group, over the parts each target holds."""
    starts = {name: groups.first[name] for name in names}
    spans = {n: range(starts[n], starts[n] + groups.layouts[n].units) for n in names}
    for g in sorted(set().union(*spans.values())):
        holders = [name for name in names if g in spans[name]]
        parts = [_part(groups, name, scores[name], g) for name in holders]
        joined = torch.cat([part.reshape(-1) for part in parts])[None]  # [1, units of the group]
        chosen = keep_rows(joined, keep[g : g + 1].to(joined.device))[0]
        pieces = chosen.split([part.numel() for part in parts])
        for name, part, piece in zip(holders, parts, pieces, strict=True):
            _part(groups, name, out[name], g).copy_(piece.view(part.shape))


def _part(groups: Groups, name: str, tensor: Tensor, group: int) -> Tensor:
    """The elements of `tensor` that lie in `group`, a view [rest...]."""
    layout = groups.layouts[name]
    view = layout.view(tensor)
    for i in torch.unravel_index(torch.tensor(group - groups.first[name]), layout.lead_shape):
        view = view[int(i)]
    return view
