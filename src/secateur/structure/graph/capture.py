"""From a module and an example to a graph of ATen operators, with the module left as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from secateur.structure.graph.errors import TraceError
from secateur.structure.graph.inline import normalise

EXPORT_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)


@dataclass
class Captured:
    """A network as a graph.

    Attributes:
        module: the graph with its parameters and buffers as attributes under their own names.
        tensors: name -> tensor, for every parameter, buffer and constant the graph reads.
        twins: name -> all names of the same tensor in the network (tied weights), itself among them.
        dynamic: whether the batch size is free.
    """

    module: fx.GraphModule
    tensors: dict[str, Tensor]
    twins: dict[str, tuple[str, ...]]
    dynamic: bool
    program: ExportedProgram = field(repr=False)


def capture(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic: bool = True,
) -> Captured:
    """Export `model` on an example; with `dynamic`, any batch size where the network permits it.

    The model is traced in evaluation mode and, for Hugging Face models, without a key-value cache; both are
    put back afterwards.
    """
    args, kwargs = tuple(args), dict(kwargs or {})
    with as_traced(model):
        program, free = _export(model, args, kwargs, dynamic)
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    normalise(module)
    tensors = {str(n.target): _read(module, n) for n in module.graph.nodes if n.op == "get_attr"}
    held = {name: t for name, t in tensors.items() if isinstance(t, Tensor)}
    return Captured(module, held, _twins(model, held), free, program)


def _read(module: nn.Module, node: fx.Node) -> Any:
    return attrgetter(str(node.target))(module)


def _export(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool
) -> tuple[ExportedProgram, bool]:
    shapes = _free_batch(model, args, kwargs) if dynamic else None
    if shapes is not None:
        try:
            return torch.export.export(
                model, args, kwargs, dynamic_shapes=shapes, strict=False
            ), True
        except EXPORT_FAILURES:
            shapes = None  # the network fixes its batch size: traced below at the example's
    try:
        return torch.export.export(model, args, kwargs, strict=False), False
    except EXPORT_FAILURES as error:
        raise _explain(model, args, kwargs, error) from error


def _explain(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> TraceError:
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except EXPORT_FAILURES as own:
        return TraceError(
            f"the model does not run on the example: {type(own).__name__}: {_first_line(own)}"
        )
    return TraceError(
        f"{type(model).__name__} cannot be traced: {type(error).__name__}: {_first_line(error)}. "
        "Remedy: let control flow in forward() depend on shapes only, or trace the submodule to be pruned"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


def _free_batch(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """A free first dimension for every tensor input of the example's batch size (more than 1)."""
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return None
    kinds = inspect.signature(model.forward).parameters
    if any(kinds[name].kind.name.startswith("VAR") for name in bound.arguments):
        return None
    leaves = [t for t in pytree.tree_leaves(bound.arguments) if isinstance(t, Tensor) and t.dim()]
    batch = leaves[0].shape[0] if leaves else 1
    if batch < 2:
        return None
    return pytree.tree_map(lambda t: _free_first(t, batch), dict(bound.arguments))


def _free_first(value: Any, batch: int) -> Any:
    return (
        {0: Dim.AUTO}
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == batch
        else None
    )


@contextmanager
def as_traced(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no key-value cache, for the time of the tracing."""
    training = {module: module.training for module in model.modules()}
    configs = [c for c in _configs(model) if getattr(c, "use_cache", None)]
    model.eval()
    for config in configs:
        config.use_cache = False
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for config in configs:
            config.use_cache = True


def _configs(model: nn.Module) -> list[Any]:
    found = [getattr(module, "config", None) for module in model.modules()]
    nested = [
        getattr(c, name, None) for c in found for name in ("text_config", "decoder", "encoder")
    ]
    return list(
        {id(c): c for c in [*found, *nested] if c is not None and hasattr(c, "use_cache")}.values()
    )


def storage_key(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for two names of one tensor: the same storage read in the same way."""
    return (
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
    )


def _twins(model: nn.Module, held: dict[str, Tensor]) -> dict[str, tuple[str, ...]]:
    names: dict[tuple[Any, ...], list[str]] = {}
    own = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in [*own, *((n, t) for n, t in held.items() if n not in dict(own))]:
        names.setdefault(storage_key(tensor), []).append(name)
    return {name: tuple(group) for group in names.values() for name in group}
