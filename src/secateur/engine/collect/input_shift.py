"""How far what enters a layer has moved from what entered it in the dense network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from ...core.axes import wide
from ...core.errors import PlanError
from ...core.padding import valid_only
from ...structure.prunable import EXPERT, prunable
from .entering import called_at, entering
from .observing import Valid, as_rows
from .statistics import Then, Values, paired


@paired("input_shift")
@contextmanager
def input_shift(
    model: nn.Module, params: Collection[str], valid: Valid, then: Then
) -> Iterator[Callable[[], Values]]:
    r"""D = (1/n) Σ_r (x°_r − x_r) x_rᵀ over the rows r that a weight multiplies; x° of the dense network.

    With G = (1/n) Σ_r x_r x_rᵀ (`input_gram`) W (G + D) G⁻¹ is the weight whose outputs for x come
    nearest to W x°. Layers that are called as modules with a row for every token; of the matrices of
    experts that are stacked in one tensor, which meet other tokens than in the dense network, nothing.

    Shapes: [in, in], float32 or wider, under the name of the layer's weight.
    """
    sums = _Sums(valid, then)
    stacks = {w.name for w in prunable(model) if EXPERT in w.dims}
    with ExitStack() as stack:
        for param in sorted(set(params) - stacks):
            layer, weight = called_at(model, param)
            if not isinstance(layer, nn.Embedding):
                hook = layer.register_forward_pre_hook(sums.hook(param, weight), with_kwargs=True)
                stack.callback(hook.remove)
        yield sums.values


class _Sums:
    """The sums of products, by weight; layers that read the same values share each product."""

    def __init__(self, valid: Valid, then: Then) -> None:
        self._valid, self._then = valid, then
        self._totals: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}
        self._last: tuple[tuple[Tensor, int, Tensor], tuple[Tensor, int]] | None = None

    def values(self) -> Values:
        """The means over all rows."""
        return {param: total / self._rows[param] for param, total in self._totals.items()}

    def hook(self, param: str, weight: str) -> Callable[..., None]:
        """What is to see what a weight, named so in its layer, multiplies."""

        def before(layer: nn.Module, args: Any, kwargs: Any) -> None:
            x = entering(layer, weight, args, kwargs)
            if x is None:
                return
            product, n = self._product(layer, param, x, self._then(param))
            if n:
                total = self._totals.get(param)
                self._totals[param] = product.clone() if total is None else total.add_(product)
                self._rows[param] = self._rows.get(param, 0) + n

        return before

    def _product(
        self, layer: nn.Module, param: str, x: Tensor, before: Tensor
    ) -> tuple[Tensor, int]:
        """Σ (x° − x) xᵀ of one call, and of how many rows."""
        if self._last is not None:
            (now, version, dense), found = self._last
            if now is x and version == x._version and dense is before:
                return found
        if x.shape != before.shape:
            raise PlanError(
                f"'{param}' reads {tuple(before.shape)} in the dense network and {tuple(x.shape)} in the "
                "pruned one: other tokens meet it, as experts; leave it out, or use a solver that does "
                "not compare the two"
            )
        rows, dense_rows = (
            as_rows(layer, chosen.to(wide(chosen)), "input")
            for chosen in (valid_only(each, self._valid(), param) for each in (x, before))
        )
        found = ((dense_rows - rows).T @ rows, len(rows))
        self._last = ((x, x._version, before), found)
        return found
