"""N of M: N weights stay of every M consecutive inputs."""

from __future__ import annotations

from pydantic import model_validator

from ..core.axes import Scope
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import Layout
from ..core.types import Groups, Target
from .build import private


@register("nm")
class NM(Scope):
    """N:M sparsity: `n` NON-ZEROS of every `m` consecutive inputs (2:4 keeps two of four).

    For a convolution the input channel is the consecutive dimension, at each kernel position.
    (Some tools count zeros instead; 2:4 is the one pattern where both agree.)
    """

    n: int = 2
    m: int = 4

    @model_validator(mode="after")
    def _sane(self) -> NM:
        if not 0 < self.n < self.m:
            raise PlanError(
                f"{self.n}:{self.m} is no pattern; N:M keeps N non-zeros of every M inputs, "
                "0 < N < M, e.g. 2:4"
            )
        return self

    @property
    def fixed_density(self) -> float:
        """N / M."""
        return self.n / self.m

    @property
    def pattern(self) -> tuple[int, int]:
        """(N, M)."""
        return self.n, self.m

    def groups(self, targets: tuple[Target, ...]) -> Groups:
        """One group per output, kernel position and run of M inputs; groups have M units."""
        return private({t.name: self._runs(t) for t in targets})

    def _runs(self, target: Target) -> Layout:
        if "in" not in target.dims:
            raise PlanError(
                f"scope 'nm' needs weights with inputs; '{target.name}' is a grid of {target.dims}"
            )
        dim = target.dims.index("in")
        inputs = target.shape[dim]
        if inputs % self.m:
            raise PlanError(
                f"'{target.name}' has {inputs} inputs, not divisible by {self.m}: {self.n}:{self.m} "
                f"(non-zeros of every {self.m} inputs) cannot hold; leave such layers out "
                f"(--option 'exclude={_of_its_kind(target.name)}'), or choose another pattern"
            )
        split = (*target.shape[:dim], inputs // self.m, self.m, *target.shape[dim + 1 :])
        lead = tuple(i for i in range(len(split)) if i != dim + 1)
        return Layout(split, (*lead, dim + 1), lead=len(lead))


def _of_its_kind(name: str) -> str:
    """A pattern for a weight in every block; of a layer that has but a number, its name.

    >>> _of_its_kind("model.layers.0.mlp.down_proj.weight")
    '*.down_proj.weight'
    """
    *above, layer, leaf = ("", *name.rsplit(".", 2))[-3:]
    return name if layer.isdecimal() or not any(above) else f"*.{layer}.{leaf}"
