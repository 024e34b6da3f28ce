"""A layer's Hessian as a triangular factor, damped until it exists."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import NumberError
from ..core.finite import finite

STEPS = 8
"""Times the damping may be raised tenfold: from 0.01 of the mean diagonal to a million times it."""


@dataclass(frozen=True)
class Factor:
    """H + λ I = U Uᵀ, U [in, in] upper triangular.

    Attributes:
        carry: U_jk / U_kk, [in, in] with ones on its diagonal.
        diagonal: U_kk, [in].
        dead: [in] inputs that were always 0.
        damping: λ, over the mean of the diagonal.
    """

    carry: Tensor
    diagonal: Tensor
    dead: Tensor
    damping: float


def factorise(gram: Tensor, damping: float) -> Factor:
    """U of H + λ I = U Uᵀ for a Gram matrix H [in, in], λ = damping × mean diagonal.

    U is the Cholesky factor of H in reverse order, turned back. Where H + λ I is not positive
    definite in this precision, λ is raised tenfold.

    >>> h = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    >>> found = factorise(h, 1e-9)
    >>> u = found.carry * found.diagonal
    >>> torch.allclose(u @ u.T, h, atol=1e-5), bool(u[1, 0] == 0)
    (True, True)
    """
    dead = gram.diagonal() <= 0
    reverse = gram.flip(0, 1)
    if bool(dead.all()):  # nothing ever came in: judge the weights by their size
        reverse, dead = torch.eye(len(gram), dtype=gram.dtype, device=gram.device), ~dead
    diagonal = reverse.diagonal()  # a view: what is written here is written there
    mean = diagonal.flip(0)[~dead].mean()
    if bool(dead.any()):
        gone = dead.flip(0)
        reverse.masked_fill_(gone[:, None] | gone[None, :], 0)
        diagonal[gone] = mean
    undamped = diagonal.clone()
    for step in range(STEPS + 1):
        used = damping * 10**step
        torch.add(undamped, used * mean, out=diagonal)
        lower, failed = torch.linalg.cholesky_ex(reverse)
        # an entry that is not finite reaches the pivot of its row
        if not int(failed) and finite(lower.diagonal()):
            del reverse
            upper = lower.flip(0, 1)
            pivots = upper.diagonal().clone()
            return Factor(upper.div_(pivots), pivots, dead, used)
    raise NumberError(
        f"the Hessian of {len(gram)} inputs cannot be inverted with any damping up to "
        f"{damping * 10**STEPS:g}; its entries are likely not finite, check weights and data"
    )
