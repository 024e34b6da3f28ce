"""Muon: matrices learn by orthogonal steps, everything else as under AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field

from ...core.component import register
from .optimiser import AdamW, Groups


@register("muon")
class Muon(AdamW):
    """Momentum of a matrix, made orthogonal by Newton-Schulz steps; all else as under AdamW.

    M <- momentum · M + (1 - momentum) · g and, with G the same mean of g and M once more,
    W <- W - lr · 0.2 · sqrt(max(out, in)) · U Vᵀ where G = U S Vᵀ: a step of the size that AdamW's has, so
    that both share a learning rate. Weights decay by themselves.
    Matrices are parameters of two dimensions, tables of embeddings (and heads tied to them) aside.

    Paper: Liu et al. 2025, arXiv 2502.16982 (the factor); Muon is Jordan et al. 2024.
    """

    momentum: float = Field(default=0.95, ge=0, lt=1)
    apart: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    def build(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """`torch.optim.Muon` for matrices, `torch.optim.AdamW` for the rest."""
        matrices = [_only(group, matrices=True) for group in groups]
        rest = [_only(group, matrices=False) for group in groups]
        return _Both(
            [g for g in matrices if g["params"]],
            [g for g in rest if g["params"]],
            lambda found: torch.optim.Muon(
                found, lr, momentum=self.momentum, adjust_lr_fn="match_rms_adamw"
            ),
            lambda found: torch.optim.AdamW(found, lr, betas=self.betas, eps=self.eps),
        )


def _only(group: dict[str, Any], matrices: bool) -> dict[str, Any]:
    """The matrices of a group that is not one of tables, or all else."""
    is_matrix = lambda p: p.dim() == 2 and not group.get("tables", False)  # noqa: E731
    return {**group, "params": [p for p in group["params"] if is_matrix(p) == matrices]}


class _Both(torch.optim.Optimizer):
    """Two optimisers over parameters of their own, with one state and one list of groups."""

    def __init__(
        self,
        first: Groups,
        second: Groups,
        *make: Callable[[Groups], torch.optim.Optimizer],
    ) -> None:
        super().__init__([*first, *second], {})
        self._cut = len(first)
        halves = (self.param_groups[: self._cut], self.param_groups[self._cut :])
        self._inner = [
            build(half) if half else None for build, half in zip(make, halves, strict=True)
        ]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both; the state may have been loaded since the last."""
        halves = (self.param_groups[: self._cut], self.param_groups[self._cut :])
        for inner, half in zip(self._inner, halves, strict=True):
            if inner is not None:
                inner.param_groups, inner.state = half, self.state
                inner.step()
