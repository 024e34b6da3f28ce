"""Weights as the matrices that multiply a layer's inputs, however a layer stores them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEADING = ("expert", "out")
_BLAS = (torch.float32, torch.float64)


def order(dims: tuple[str, ...]) -> tuple[int, ...]:
    """The permutation that puts experts and outputs before inputs and kernel."""
    lead = [dims.index(word) for word in LEADING if word in dims]
    return (*lead, *[i for i in range(len(dims)) if i not in lead])


def matrix(values: Tensor, dims: tuple[str, ...]) -> Tensor:
    """[..., out, in * kernel] of a weight, or of anything of its shape.

    Args:
        values: the weight's shape.
        dims: what its dimensions are: `out`, `in`, `k`, `expert`.

    >>> matrix(torch.zeros(3, 7), ("in", "out")).shape
    torch.Size([7, 3])
    """
    turned = values.permute(order(dims))
    lead = sum(word in dims for word in LEADING)
    return turned.reshape(*turned.shape[:lead], math.prod(turned.shape[lead:]))


def unmatrix(values: Tensor, dims: tuple[str, ...], shape: tuple[int, ...]) -> Tensor:
    """What `matrix` gave, in the weight's own shape again."""
    places = order(dims)
    turned = values.reshape(tuple(shape[i] for i in places))
    return turned.permute(tuple(sorted(range(len(places)), key=lambda i: places[i])))


def gram(rows: Tensor) -> Tensor:
    """XᵀX, [features, features], of rows X [n, features]; symmetric to the bit.

    On a CPU by numpy, whose BLAS works out one triangle of a matrix times its own transpose: half of the
    multiplications of torch's product.

    >>> gram(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[10., 14.],
            [14., 20.]])
    """
    if rows.device.type != "cpu" or rows.dtype not in _BLAS:
        return rows.detach().T @ rows.detach()
    x = rows.detach().numpy()
    return torch.from_numpy(x.T @ x)
