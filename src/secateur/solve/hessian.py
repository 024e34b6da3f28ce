"""The inverse of a layer's Hessian as a triangular factor, damped until it exists."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import NumberError

STEPS = 8
"""Times the damping may be raised tenfold: from 0.01 of the mean diagonal to a million times it."""


@dataclass(frozen=True)
class Inverse:
    """H⁻¹ = Rᵀ R.

    Attributes:
        factor: R [in, in], upper triangular.
        dead: [in] inputs that were always 0.
        damping: what was added, over the mean of the diagonal.
    """

    factor: Tensor
    dead: Tensor
    damping: float


def inverse(gram: Tensor, damping: float) -> Inverse:
    """R of (H + λ I)⁻¹ = Rᵀ R for a Gram matrix H [in, in], λ = damping × mean diagonal.

    H = U Uᵀ with U upper triangular (the Cholesky factor of H in reverse order, turned back), hence
    R = U⁻¹: one factorisation and one triangular solve. Where H + λ I is not positive definite in
    this precision, λ is raised tenfold.

    >>> h = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    >>> r = inverse(h, 1e-9).factor
    >>> torch.allclose(r.T @ r, torch.linalg.inv(h), atol=1e-5)
    True
    """
    diagonal = gram.diagonal()
    dead = diagonal <= 0
    if bool(dead.all()):  # nothing ever came in: judge the weights by their size
        gram, dead = torch.eye(len(gram), dtype=gram.dtype, device=gram.device), ~dead
        diagonal = gram.diagonal()
    mean = diagonal[~dead].mean()
    base = gram.masked_fill(dead[:, None] | dead[None, :], 0) + torch.diag(dead * mean)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for step in range(STEPS + 1):
        used = damping * 10**step
        lower, failed = torch.linalg.cholesky_ex((base + used * mean * eye).flip(0, 1))
        if int(failed):
            continue
        factor = torch.linalg.solve_triangular(lower.flip(0, 1), eye, upper=True)
        if bool(torch.isfinite(factor).all()):
            return Inverse(factor, dead, used)
    raise NumberError(
        f"the Hessian of {len(gram)} inputs cannot be inverted with any damping up to "
        f"{damping * 10**STEPS:g}; its entries are likely not finite, check weights and data"
    )
