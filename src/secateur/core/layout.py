"""Strided maps between a tensor and its units: split dimensions, permute, lead with the units.

One idea serves three questions: which elements of a parameter belong to unit u (rows, blocks,
heads), which units form a group (rows, N of M), and where a mask is written. Splitting and
permuting never copy, so a layout's view can be read and written in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .errors import PlanError


@dataclass(frozen=True)
class Layout:
    """View a tensor as [lead..., rest...]: narrow one dimension, split into `shape`, permute.

    Attributes:
        shape: sizes after narrowing and splitting; their product is the narrowed tensor's size.
        perm: order of those dimensions; the first `lead` of them enumerate the units.
        lead: how many permuted dimensions enumerate units (or groups).
        narrow: (dim, start, length) taken of the tensor before splitting, or None.

    >>> import torch
    >>> w = torch.arange(8).view(2, 4)                       # [out=2, in=4]
    >>> Layout((2, 2, 2), (1, 0, 2), lead=1).view(w).tolist()  # two column pairs: [2, out, 2]
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    """

    shape: tuple[int, ...]
    perm: tuple[int, ...]
    lead: int
    narrow: tuple[int, int, int] | None = None

    @property
    def units(self) -> int:
        """How many units (or groups) the leading dimensions enumerate."""
        return math.prod(self.lead_shape)

    @property
    def lead_shape(self) -> tuple[int, ...]:
        """Sizes of the leading dimensions."""
        return tuple(self.shape[p] for p in self.perm[: self.lead])

    @property
    def size(self) -> int:
        """Elements that belong to one unit."""
        return math.prod(self.shape[p] for p in self.perm[self.lead :])

    def view(self, tensor: Tensor) -> Tensor:
        """A view [lead..., rest...] of `tensor`; writing to it writes to the tensor."""
        if self.narrow is not None:
            tensor = tensor.narrow(*self.narrow)
        if tensor.numel() != math.prod(self.shape):
            raise PlanError(
                f"layout {self.shape} does not fit a tensor of shape {tuple(tensor.shape)}"
            )
        return tensor.view(self.shape).permute(self.perm)

    def matrix(self, tensor: Tensor) -> Tensor:
        """[units, size] of `tensor` (a copy where the elements of a unit are not evenly strided)."""
        return self.view(tensor).reshape(self.units, self.size)


def whole(shape: tuple[int, ...]) -> Layout:
    """Every element is a unit of its own."""
    return Layout(shape, tuple(range(len(shape))), lead=len(shape))


def one_group(shape: tuple[int, ...]) -> Layout:
    """All elements form one group."""
    return Layout(shape, tuple(range(len(shape))), lead=0)


def along(shape: tuple[int, ...], dim: int) -> Layout:
    """Unit u is the slice at index u of dimension `dim` (rows: dim 0)."""
    rest = tuple(i for i in range(len(shape)) if i != dim)
    return Layout(shape, (dim, *rest), lead=1)
