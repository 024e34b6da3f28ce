"""Watching the matrices of experts that are stacked in one tensor: each has inputs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...core.errors import DataError

PRODUCTS = {
    F.linear, torch.matmul, torch.mm, torch.bmm,
    Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__,
}  # fmt: skip
"""Functions of (rows, matrix) by which experts multiply."""

Feed = Callable[[str, int, Tensor], None]
"""Called with the stacked weight's name, the number of the expert, and its rows."""


class Multiplications(TorchFunctionMode):
    """Sees every product with a stacked weight or a slice of it, however the experts are written.

    Args:
        weights: name -> [experts, ., .].
        feed: gets the rows [n, in] that meet an expert.
        padding: knows which rows of a product are none.
    """

    def __init__(self, weights: Mapping[str, Tensor], feed: Feed, padding: _Padding) -> None:
        super().__init__()
        self._weights = {w.untyped_storage().data_ptr(): (n, w) for n, w in weights.items()}
        self._feed, self._padding = feed, padding

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in PRODUCTS and len(args) > 1 and isinstance(args[1], Tensor):
            found = self._weights.get(args[1].untyped_storage().data_ptr())
            if found is not None:
                self._look(*found, *args[:2])
        return func(*args, **(kwargs or {}))

    def _look(self, name: str, stacked: Tensor, rows: Tensor, factor: Tensor) -> None:
        if factor.dim() == 2:
            expert = (factor.storage_offset() - stacked.storage_offset()) // stacked[0].numel()
            self._padding.told(name)
            self._feed(name, expert, rows.reshape(-1, rows.shape[-1]))
        elif factor.dim() == 3 and len(factor) == len(stacked):
            batches = rows.expand(len(factor), *rows.shape[-2:])  # [experts, rows, in]
            for expert, given in enumerate(batches):
                self._feed(name, expert, self._padding.reached(name, given))


@contextmanager
def multiplying(
    model: nn.Module, weights: Mapping[str, Tensor], feed: Feed, valid: Callable[[], Tensor | None]
) -> Iterator[None]:
    """Inside, experts run one by one, without padding, and what each multiplies is fed.

    Where all experts run at once on all tokens (`bmm`), as Llama 4's, a token is one expert's if
    it is given to it as anything but zeros: that is how such a mixture leaves tokens out.

    Args:
        model: the network or block that owns the weights.
        weights: name -> stacked weight.
        valid: which tokens count; the others are sent to no expert.
    """
    owners = {model.get_submodule(name.rpartition(".")[0]) for name in weights}
    padding = _Padding(valid)
    with ExitStack() as stack:
        for owner in owners:
            hook = owner.register_forward_pre_hook(padding.leave_out, with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(owner.register_forward_hook(padding.put_back).remove)
            stack.enter_context(_one_by_one(owner))
        stack.enter_context(Multiplications(weights, feed, padding))
        yield


@contextmanager
def _one_by_one(owner: nn.Module) -> Iterator[None]:
    """The plain loop over experts instead of a fused kernel, where the library has a choice."""
    config = getattr(owner, "config", None)
    before = getattr(config, "_experts_implementation", None)
    if before is None:
        yield
        return
    config._experts_implementation = "eager"  # type: ignore[union-attr]
    try:
        yield
    finally:
        config._experts_implementation = before  # type: ignore[union-attr]


class _Padding:
    """Keeps tokens that are none from experts: from what their module is given, or from its products."""

    def __init__(self, valid: Callable[[], Tensor | None]) -> None:
        self._valid = valid
        self._left: Tensor | None = None
        """Which tokens the module that runs now was given; None = all."""

    def _mask(self) -> Tensor | None:
        """Which tokens count, flat, where some do not and are not left out already."""
        mask = self._valid()
        return (
            None if self._left is not None or mask is None or bool(mask.all()) else mask.flatten()
        )

    def leave_out(self, owner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A hook: modules that are told which token goes to which expert get those that count."""
        self._left, mask = None, self._mask()
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        if mask is None or all(v.is_floating_point() for v in given):
            return None
        if any(not v.dim() or len(v) != len(mask) for v in given):
            return None
        self._left = mask.to(given[0].device)
        some = lambda v: v[self._left] if isinstance(v, Tensor) else v  # noqa: E731
        return tuple(map(some, args)), {name: some(v) for name, v in kwargs.items()}

    def put_back(self, owner: nn.Module, args: Any, output: Any) -> Any:
        """A hook: the output with zeros for the tokens that were left out."""
        mask, self._left = self._left, None
        if mask is None:
            return None
        whole: Tensor = output.new_zeros(len(mask), *output.shape[1:])
        whole[mask] = output
        return whole

    def told(self, name: str) -> None:
        """Refuse rows of which nobody says whether they are padding."""
        if self._mask() is not None:
            raise DataError(
                f"the module of '{name}' does not say which token goes to which expert, so that "
                "padding cannot be left out; pack the calibration data instead, samples of one length "
                "without padding (on the command line, leave out --padded)"
            )

    def reached(self, name: str, rows: Tensor) -> Tensor:
        """Those of the rows [tokens, in] given to an expert that are tokens sent to it."""
        mask = self._mask()
        if mask is not None and len(mask) != len(rows):
            self.told(name)
        rows = rows if mask is None else rows[mask.to(rows.device)]
        return rows[rows.any(1)]


def stacked(values: Mapping[int, Tensor], experts: int) -> Tensor:
    """[experts, ...] of the values of some experts; zeros for those that no token reached."""
    some = next(iter(values.values()))
    return torch.stack([values.get(e, torch.zeros_like(some)) for e in range(experts)])
