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

PRODUCTS = {F.linear, torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
"""Functions of (rows, matrix) by which experts multiply."""

Feed = Callable[[str, int, Tensor], None]
"""Called with the stacked weight's name, the number of the expert, and its rows."""


class Multiplications(TorchFunctionMode):
    """Sees every product with a slice of a stacked weight, however the experts are written.

    Args:
        weights: name -> [experts, ., .].
        feed: gets the rows [n, in] that meet an expert.
    """

    def __init__(self, weights: Mapping[str, Tensor], feed: Feed) -> None:
        super().__init__()
        self._weights = {w.untyped_storage().data_ptr(): (n, w) for n, w in weights.items()}
        self._feed = feed

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in PRODUCTS and len(args) > 1 and isinstance(args[1], Tensor):
            self._look(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _look(self, rows: Tensor, slice: Tensor) -> None:
        found = self._weights.get(slice.untyped_storage().data_ptr())
        if found is not None and slice.dim() == 2:
            name, stacked = found
            expert = (slice.storage_offset() - stacked.storage_offset()) // stacked[0].numel()
            self._feed(name, expert, rows.reshape(-1, rows.shape[-1]))


@contextmanager
def multiplying(
    model: nn.Module, weights: Mapping[str, Tensor], feed: Feed, valid: Callable[[], Tensor | None]
) -> Iterator[None]:
    """Inside, experts run one by one, without padding, and what each multiplies is fed.

    Args:
        model: the network or block that owns the weights.
        weights: name -> stacked weight.
        valid: which tokens count; the others are sent to no expert.
    """
    owners = {model.get_submodule(name.rpartition(".")[0]) for name in weights}
    with ExitStack() as stack:
        for owner in owners:
            hook = owner.register_forward_pre_hook(_without_padding(valid), with_kwargs=True)
            stack.callback(hook.remove)
            stack.enter_context(_one_by_one(owner))
        stack.enter_context(Multiplications(weights, feed))
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


def _without_padding(valid: Callable[[], Tensor | None]) -> Callable[..., Any]:
    """A hook that sends padding to expert number `num_experts`, which the loop leaves out."""

    def hook(owner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mask = valid()
        if mask is None or bool(mask.all()):
            return None
        values = [*args, *kwargs.values()]
        chosen = [v for v in values if isinstance(v, Tensor) and not v.is_floating_point()]
        if len(chosen) != 1 or chosen[0].shape[0] != mask.numel():
            raise DataError(
                f"{type(owner).__name__} does not say which token goes to which expert, so that "
                "padding cannot be left out; pack the calibration data instead"
            )
        padding = ~mask.flatten()[:, None].to(chosen[0].device)
        kept = chosen[0].masked_fill(padding, int(owner.num_experts))  # type: ignore[arg-type]
        args = tuple(kept if v is chosen[0] else v for v in args)
        return args, {k: kept if v is chosen[0] else v for k, v in kwargs.items()}

    return hook


def stacked(values: Mapping[int, Tensor], experts: int) -> Tensor:
    """[experts, ...] of the values of some experts; zeros for those that no token reached."""
    some = next(iter(values.values()))
    return torch.stack([values.get(e, torch.zeros_like(some)) for e in range(experts)])
