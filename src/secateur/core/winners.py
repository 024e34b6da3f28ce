"""The one selection as operators of a graph: for layers that choose anew for every input."""

from __future__ import annotations

import torch
from torch import Tensor


def winners(scores: Tensor, keep: Tensor) -> Tensor:
    """bool [n, units]: exactly `keep` of each row, higher scores first, ties to the lower index.

    The same as `select` with a group for each row; it can be captured and runs without leaving the device.

    Args:
        scores: [n, units] float.
        keep: int64, how many stay of each row: one number for all.

    >>> winners(torch.tensor([[1., 3., 1.], [2., 2., 2.]]), torch.tensor(2)).int().tolist()
    [[1, 1, 0], [1, 1, 0]]
    """
    if torch.compiler.is_compiling():
        return _ranked_by_pairs(scores) < keep
    order = scores.argsort(dim=1, descending=True, stable=True)  # [n, units]
    place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter(1, order, place) < keep


def _ranked_by_pairs(scores: Tensor) -> Tensor:
    """[n, units] how many come before each; ONNX has no stable sort, but it can compare.

    >>> _ranked_by_pairs(torch.tensor([[1., 3., 1.]])).tolist()
    [[1, 0, 2]]
    """
    own, other = scores[:, :, None], scores[:, None, :]  # [n, units, 1], [n, 1, units]
    number = torch.arange(scores.shape[1], device=scores.device)
    earlier = number[None, :] < number[:, None]  # [units, units]
    return ((other > own) | ((other == own) & earlier)).sum(2)
