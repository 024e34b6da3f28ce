"""A layer's Hessian as a triangular factor, damped until it exists."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.axes import View
from ..core.errors import NumberError, PlanError

STEPS = 8
"""Times the damping may be raised tenfold: from 0.01 of the mean diagonal to a million times it."""

PANEL = 128
"""Columns that are factorised at once; all else is products of matrices."""


@dataclass(frozen=True)
class Factor:
    """H + λ I = U Uᵀ, U [in, in] upper triangular.

    Attributes:
        carry: U_jk / U_kk, [in, in] with ones on its diagonal; what lies below it is not set.
        diagonal: U_kk, [in].
        dead: [in] inputs that were always 0.
        damping: λ, over the mean of the diagonal.
    """

    carry: Tensor
    diagonal: Tensor
    dead: Tensor
    damping: float

    @property
    def upper(self) -> Tensor:
        """U, [in, in]."""
        return self.carry.triu() * self.diagonal

    @property
    def damped(self) -> Tensor:
        """H + λ I, [in, in], with the mean of the diagonal for inputs that were always 0."""
        return self.upper @ self.upper.T

    def solve(self, right: Tensor) -> Tensor:
        """right (H + λ I)⁻¹, for `right` [out, in].

        >>> h = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
        >>> found = factorise(h, 1e-9).solve(torch.tensor([[1.0, 2.0]]) @ h)
        >>> torch.allclose(found, torch.tensor([[1.0, 2.0]]), atol=1e-5)
        True
        """
        upper = self.upper
        half = torch.linalg.solve_triangular(upper.T, right, upper=False, left=False)  # U⁻ᵀ
        return torch.linalg.solve_triangular(upper, half, upper=True, left=False)

    def moved(self, rows: Tensor, shift: Tensor, share: float) -> Tensor:
        """W + share · W D (H + λ I)⁻¹: weights that make up for inputs which have moved by D.

        Args:
            rows: W [out, in].
            shift: D [in, in], (X° − X) Xᵀ / n.
            share: how much of the way is gone.
        """
        return rows + share * self.solve(rows @ shift)


def gram_of(view: View, param: str, rows: Tensor) -> Tensor:
    """[in, in] (of each expert) the Gram matrix of the inputs that `rows` [..., out, in] multiply.

    The outputs of a convolution in groups read inputs of their own, for which there is no one matrix.
    """
    gram = view.stat("input_gram", param)
    if gram.shape[-1] != rows.shape[-1]:
        raise PlanError(
            f"the outputs of '{param}' read {rows.shape[-1]} of {gram.shape[-1]} inputs each, those of "
            "their group, so that no one Gram matrix tells what to make up; leave it out "
            f"(exclude='{param}'), or take a method without this solver"
        )
    return gram


def factorise(gram: Tensor, damping: float) -> Factor:
    """U of H + λ I = U Uᵀ for a Gram matrix H [in, in], λ = damping × mean diagonal.

    Where H + λ I is not positive definite in this precision, λ is raised tenfold. H is only read.

    >>> h = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    >>> found = factorise(h, 1e-9)
    >>> u = found.upper
    >>> torch.allclose(u @ u.T, h, atol=1e-5), bool(u[1, 0] == 0)
    (True, True)
    """
    dead = gram.diagonal() <= 0
    if bool(dead.all()):  # nothing ever came in: judge the weights by their size
        gram, dead = torch.eye(len(gram), dtype=gram.dtype, device=gram.device), ~dead
    mean = gram.diagonal()[~dead].mean()
    if bool(dead.any()):
        gram = gram.masked_fill(dead[:, None] | dead[None, :], 0)
        gram.diagonal()[dead] = mean
    carry = torch.empty_like(gram)
    for step in range(STEPS + 1):
        used = damping * 10**step
        diagonal = _upper(gram, used * mean, carry)
        if diagonal is not None:
            return Factor(carry, diagonal, dead, used)
    raise NumberError(
        f"the Hessian of {len(gram)} inputs cannot be inverted with any damping up to "
        f"{damping * 10**STEPS:g}; its entries are likely not finite, check weights and data"
    )


def _upper(gram: Tensor, shift: Tensor, carry: Tensor) -> Tensor | None:
    """Fill `carry` and give the diagonal of U; None where there is no U.

    Panel by panel from the last columns to the first: with C = `carry` and D = diag(U)², the columns
    P of H − C D Cᵀ over all later ones are U_:P U_PPᵀ, so that C_:P follows from the factor of a
    small square. An entry that is not finite reaches the square of its row.
    """
    diagonal = torch.empty_like(gram[0])
    for stop in range(len(gram), 0, -PANEL):
        here, later = slice(max(0, stop - PANEL), stop), slice(stop, None)
        panel = carry[:stop, here]
        scaled = carry[here, later] * diagonal[later].square()
        torch.addmm(gram[:stop, here], carry[:stop, later], scaled.T, alpha=-1, out=panel)
        square = panel[here.start :].clone()
        square.diagonal().add_(shift)
        lower, failed = torch.linalg.cholesky_ex(square.flip(0, 1))
        upper = lower.flip(0, 1)  # U_PP
        pivots = diagonal[here] = upper.diagonal()
        if int(failed) or not math.isfinite(float(pivots.sum())):
            return None
        eye = torch.eye(len(upper), dtype=gram.dtype, device=gram.device)
        inverse = torch.linalg.solve_triangular(upper, eye, upper=True)
        panel[: here.start] = panel[: here.start] @ (inverse.T / pivots)
        panel[here.start :] = upper / pivots
    return diagonal
