"""Wanda: the size of a weight times the norm of the input it multiplies."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register
from ..core.matrix import matrix, unmatrix


@register("wanda")
class Wanda(ElementCriterion):
    r"""s_ij = |W_ij| · ‖X_j‖, ‖X_j‖ = √((1/n) Σ_r x_rj²) over all n tokens (or samples, places).

    W: the weight [out, in], X_j: what enters input j, the statistic `input_square` [in]. The paper's
    norm is the sum without 1/n, which orders the weights of a layer alike. Nothing is trained, no
    gradient is needed. A bias multiplies 1. An input that is never active has the norm 0, so that its
    weights go first; where no token reached a layer (an expert that was never chosen) its weights are
    judged by their size alone, and the record counts them as `silent`.

    Shapes: elements [shape of the parameter]; inputs of convolutions are their windows.

    Paper: Sun, Liu, Bair, Kolter 2024, arXiv 2306.11695. It compares the weights of each output
    (scope `row`), or N:M; the official code sums over sequences, not tokens, the same up to a factor.
    """

    needs = frozenset({"input_square"})

    def elements(self, view: View, param: str) -> Tensor:
        """|W| times the norms of the inputs."""
        weight = view.weight(param)
        size = weight.to(wide(weight)).abs()
        return size * input_norm(view, param, size) if size.dim() > 1 else size


def input_norm(view: View, param: str, weight: Tensor) -> Tensor:
    """[shape of the weight] the root mean square of the input each element multiplies."""
    square = view.stat("input_square", param).to(weight)  # [in * kernel] or [experts, in]
    silent = (square == 0).all(-1, keepdim=True)  # nothing ever came in: no ground to judge by
    if bool(silent.any()):
        view.note(param, silent=int(silent.sum()))
    norm = torch.where(silent, 1.0, square.sqrt())
    dims = view.dims(param)
    rows = matrix(weight, dims)  # [..., out, in * kernel]
    norm = norm.unsqueeze(-2)
    if (
        norm.shape[-1] != rows.shape[-1]
    ):  # a convolution in groups: outputs read those of their group
        norm = norm.view(-1, rows.shape[-1])  # [groups, in * kernel]
        norm = norm.repeat_interleave(len(rows) // len(norm), 0)
    return unmatrix(norm.expand_as(rows), dims, tuple(weight.shape))
