"""Running a model on an example without leaving a trace on either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core.errors import DataError, PlanError
from ..core.modes import mode


@dataclass(frozen=True)
class Call:
    """The arguments of one forward pass."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments, in order, at any depth."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def map(self, change: Any) -> Call:
        """The same call with `change` applied to every tensor."""
        args, kwargs = pytree.tree_map_only(Tensor, change, (self.args, self.kwargs))
        return Call(args, kwargs)


def as_call(example: Any) -> Call:
    """Read an example: a tensor, a sequence of positional arguments, or a mapping of keywords.

    >>> as_call({"x": torch.ones(2, 3)}).tensors()[0].shape
    torch.Size([2, 3])
    """
    if isinstance(example, Call):
        call = example
    elif isinstance(example, Mapping):
        call = Call((), dict(example))
    else:
        call = Call(tuple(example) if isinstance(example, list | tuple) else (example,), {})
    if not call.tensors():
        raise DataError(
            f"an example of type {type(example).__name__} holds no tensor; give a tensor, "
            "a tuple of arguments or a dict of keyword arguments"
        )
    return call


def rebatch(call: Call, size: int) -> Call:
    """The call with `size` examples: every tensor whose first dimension is the batch is repeated.

    The batch is the first dimension of the first tensor: `[batch, …]` becomes `[size, …]`.
    """
    first = call.tensors()[0]
    if size < 1 or first.ndim == 0 or first.shape[0] == 0:
        raise DataError(f"cannot make a batch of {size} from an input of {tuple(first.shape)}")
    batch = first.shape[0]

    def repeat(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or tensor.shape[0] != batch:
            return tensor
        return tensor[torch.arange(size, device=tensor.device) % batch]

    return call.map(repeat)


def device_of(model: nn.Module) -> torch.device:
    """The one device of a model's parameters and buffers; CPU where it has none."""
    tensors = [*model.parameters(), *model.buffers()]
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise PlanError(
            f"the model lies on several devices ({names}); move it to one to measure it"
        )
    return devices.pop() if devices else torch.device("cpu")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module gets back the mode it was in."""
    with mode(model, train=False), torch.no_grad():
        yield


@contextmanager
def explained(call: Call) -> Iterator[None]:
    """Turn what a forward pass raises into a `DataError` that shows the example."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        shapes = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in call.tensors())
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"the model does not run on the example [{shapes}]: {reason}") from error
