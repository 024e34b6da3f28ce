"""The supermask family: criteria over a weight's initial and present value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register

RULES: dict[str, Callable[..., Tensor]] = {
    "large_final": lambda w0, wk, r: wk.abs(),
    "small_final": lambda w0, wk, r: -wk.abs(),
    "large_init": lambda w0, wk, r: w0.abs(),
    "small_init": lambda w0, wk, r: -w0.abs(),
    "large_init_large_final": lambda w0, wk, r: torch.minimum(r(w0.abs()), r(wk.abs())),
    "small_init_small_final": lambda w0, wk, r: torch.minimum(r(-w0.abs()), r(-wk.abs())),
    "magnitude_increase": lambda w0, wk, r: wk.abs() - w0.abs(),
    "movement": lambda w0, wk, r: (wk - w0).abs(),
}


@register("supermask")
class Supermask(ElementCriterion):
    r"""s_i = the rule `keep` of w_0, the weight at step 0, and w_k, the weight now (see `RULES`).

    r(x) is the share of the tensor's survivors whose x is no larger: the two joint rules keep a
    weight when both its values are above one common percentile. With `signs` other than `any`,
    weights whose sign changed (`same`) or did not (`different`) score 0.

    Shapes: elements [shape of the parameter], float32 or wider.

    Paper: Zhou, Lan, Liu, Yosinski 2019, arXiv 1905.01067, which writes the joint rules as
    min(α|w_k|, |w_0|); the official code looks for the common percentile. Its `random` is `random`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"initial"})

    keep: Literal[tuple(RULES)] = "large_final"  # type: ignore[valid-type]
    signs: Literal["any", "same", "different"] = "any"

    def elements(self, view: View, param: str) -> Tensor:
        """The rule's value."""
        wk = view.weight(param)
        wk = wk.to(wide(wk))
        w0 = view.stat("initial", param).to(wk)
        score = RULES[self.keep](w0, wk, partial(_rank, alive=view.alive(param)))
        same = (w0.sign() == wk.sign()) == (self.signs == "same")
        return score if self.signs == "any" else score * same


def _rank(x: Tensor, alive: Tensor) -> Tensor:
    """r: the share of surviving values that are no larger than each value."""
    ordered = x[alive].sort().values
    return torch.searchsorted(ordered, x.contiguous(), right=True).to(x) / max(len(ordered), 1)
