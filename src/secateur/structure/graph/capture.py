"""From a module and an example to a graph of ATen operators, with the module left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import UnsupportedOperatorException
from torch.export import ExportedProgram

from secateur.structure.graph.deadline import Deadline
from secateur.structure.graph.errors import TraceError
from secateur.structure.graph.example import check, described
from secateur.structure.graph.export import (
    EXPORT_FAILURES,
    as_traced,
    caches_kept,
    export,
    said,
)
from secateur.structure.graph.inline import normalise
from secateur.structure.graph.outputs import Outputs, outputs_of
from secateur.structure.graph.parts import Parts, cover, within
from secateur.structure.graph.provenance import Provenance, forget, remembering

SECONDS = 300.0
"""What the capture of one network may take."""


@dataclass
class Captured:
    """A network as a graph.

    Attributes:
        graph: it reads parameters and buffers under their own names.
        tensors: name -> tensor, for every parameter, buffer and constant the graph reads.
        regions: name -> graph, where an operator takes graphs.
        twins: name -> all names of the same tensor in the network (tied weights), itself among them.
        dynamic: whether the batch size is free.
        outputs: which of its outputs keep their sizes.
        parts: what of the network the graph holds, where it cannot hold all of it.
        provenance: the attributes that the integers of the graph come from.
    """

    graph: fx.Graph
    tensors: dict[str, Tensor]
    twins: dict[str, tuple[str, ...]]
    regions: dict[str, Any]
    dynamic: bool
    outputs: Outputs
    parts: Parts | None = None
    provenance: Provenance = field(default_factory=Provenance, repr=False)

    def inputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the graph takes: the example, or what the parts were given on it."""
        if self.parts is not None:
            return (self.parts.inputs,), {}
        return tuple(args), dict(kwargs or {})

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """For this time, the network runs as it was captured."""
        with as_traced(model):
            if self.parts is None:
                yield
            else:
                with self.parts.running(model):
                    yield

    def shared(self, name: str) -> str:
        """Why a tensor is not the graph's alone; empty where it is."""
        if self.parts is None:
            return ""
        if not any(map(self.parts.holds, self.twins[name])):
            return self.parts.reason(name)
        for twin in self.twins[name]:
            if not self.parts.holds(twin):
                return f"tied to {twin}, which is not traced"
            if any(within(twin, module) for module in self.parts.outside):
                return "its module is also called from outside the traced part"
        return ""


def capture(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic: bool = True,
    outputs: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Captured:
    """Export `model` on an example; with `dynamic`, any batch size where the network permits it.

    The model is traced in evaluation mode and, for Hugging Face models, without a key-value cache; both are
    put back afterwards. What cannot be traced whole is traced in parts.
    """
    args, kwargs = tuple(args), dict(kwargs or {})
    check(model, args, kwargs)
    parts: Parts | None = None
    with as_traced(model), Deadline(seconds) as clock:
        _run(model, args, kwargs)
        try:
            program, free, read = _export(model, args, kwargs, dynamic)
        except EXPORT_FAILURES as error:
            parts = _in_parts(model, args, kwargs, error, clock)
            if outputs not in (None, ("*",), ["*"]):
                raise _no_choice(outputs, parts) from error
            with parts.running(model):
                program, free, read = _export(model, (parts.inputs,), {}, dynamic)
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    normalise(module)
    provenance = read(module.graph)
    forget(program.graph)
    read_by_graph = {
        str(n.target): _read(module, n) for n in module.graph.nodes if n.op == "get_attr"
    }
    tensors = {name: t for name, t in read_by_graph.items() if isinstance(t, Tensor)}
    regions = {name: v for name, v in read_by_graph.items() if name not in tensors}
    module.graph.owning_module = None  # it holds the tensors
    chosen = outputs_of(program.call_spec.out_spec, outputs if parts is None else None)
    twins = twins_of(model, tensors)
    return Captured(module.graph, tensors, twins, regions, free, chosen, parts, provenance)


def _export(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool
) -> tuple[ExportedProgram, bool, Callable[[fx.Graph], Provenance]]:
    """The program, and what tells where its integers come from; without that where it is in the way."""
    try:
        with remembering(model) as read:
            program, free = export(model, args, kwargs, dynamic)
    except EXPORT_FAILURES:
        program, free = export(model, args, kwargs, dynamic)
        return program, free, lambda _: Provenance()
    return program, free, read


def _read(module: nn.Module, node: fx.Node) -> Any:
    return attrgetter(str(node.target))(module)


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A plain run first: what is traced on tensors without data may not run with data.

    On the meta device there is no data to run on.
    """
    if any(tensor.is_meta for tensor in model.parameters()):
        return
    try:
        with torch.no_grad(), caches_kept(model):
            model(*args, **kwargs)
    except EXPORT_FAILURES as error:
        raise TraceError(
            f"the model does not run on the example ({described(args, kwargs)}): {said(error)}. "
            "Remedy: give it the inputs that model(...) takes"
        ) from error


def _in_parts(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: Exception,
    clock: Deadline,
) -> Parts:
    parts = cover(model, args, kwargs, error, clock)
    if not parts.parts:
        raise TraceError(
            f"{parts.why['']}; nor can any of its submodules. Remedy: {_remedy(error)}"
        ) from error
    return parts


def _remedy(error: Exception) -> str:
    """What lets a network be followed."""
    if isinstance(error, UnsupportedOperatorException):
        return "leave that operator out while the network is traced, or give it a torch.library.register_fake"
    return "let control flow in forward() depend on shapes only"


def _no_choice(outputs: Sequence[str] | None, parts: Parts) -> TraceError:
    return TraceError(
        f"outputs={list(outputs or ())} cannot be chosen of a network that is traced in parts, each of "
        f"which keeps its own outputs: {parts.why['']}. Remedy: leave outputs out"
    )


def storage_key(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for two names of one tensor: the same storage read in the same way."""
    return (
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
    )


def twins_of(model: nn.Module, held: dict[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Name -> all names of the same tensor in the network, of those that a graph holds."""
    names: dict[tuple[Any, ...], list[str]] = {}
    own = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    known = {name for name, _ in own}
    for name, tensor in [*own, *((n, t) for n, t in held.items() if n not in known)]:
        names.setdefault(storage_key(tensor), []).append(name)
    return {name: tuple(group) for group in names.values() for name in group}
