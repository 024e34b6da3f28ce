"""Level C: modules whose constants no attribute explains become graph modules, the rest stays as it is."""

from __future__ import annotations

import builtins
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.unflatten import InterpreterModule

from secateur.structure.graph.edit import apply_patch, cut_tensor, times
from secateur.structure.graph.export import export, quiet
from secateur.structure.graph.graphnet import switch_training
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.inline import normalise
from secateur.structure.graph.op import base_name
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.standard import REPAIRS, unfuse

PLAIN = (
    *(kind for kind in REPAIRS if kind is not nn.MultiheadAttention),
    nn.ModuleList, nn.ModuleDict, nn.Sequential,
)  # fmt: skip


class GraphPart(InterpreterModule):
    """A submodule as a graph; `train` and `eval` switch its dropouts and batch norms."""

    def train(self, mode: bool = True) -> GraphPart:
        """Switch this graph and those inside it."""
        super().train(mode)
        switch_training(self.graph, mode)
        inner = getattr(self, "graph_module", None)
        if isinstance(inner, fx.GraphModule):
            inner.recompile()
        return self


def owners_to_replace(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Modules to replace: those of the project's own kind around the named ones, none inside another."""
    own = {replaceable(model, name) for name in names} - {""}
    return sorted(n for n in own if not any(n.startswith(f"{other}.") for other in own))


def replaceable(model: nn.Module, name: str) -> str:
    """The module itself, or the next around it that is no standard layer or container."""
    while name and isinstance(model.get_submodule(name), PLAIN):
        name = name.rpartition(".")[0]
    return name


def graph_modules(
    model: nn.Module,
    found: Inference,
    kept: Kept,
    owners: Sequence[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> dict[str, nn.Module]:
    """Each named submodule as a graph with its constants patched."""
    with found.captured.running(model):
        program, _ = export(model, tuple(args), dict(kwargs), found.captured.dynamic, tuple(owners))
    normalise(program.graph_module)
    _patch(program, found, kept)
    _without_builtin_names(program)
    for name in owners:
        _measure_inside(program, name)
    _cut(program, found, kept)
    with quiet(), redirect_stdout(io.StringIO()):  # torch prints the operators it looks at
        whole = torch.export.unflatten(program)
    return {name: _trainable(whole.get_submodule(name)) for name in owners}


def _patch(program: ExportedProgram, found: Inference, kept: Kept) -> None:
    """Apply the patches to a second capture of the same network, call by call."""
    first, second = _calls(found.captured.graph), _calls(program.graph)
    if [base_name(n) for n in first] != [base_name(n) for n in second]:
        raise RuntimeError("the second capture differs from the first")
    twin = dict(zip(first, second, strict=True))
    for patch in found.patches:
        apply_patch(replace(patch, node=twin[patch.node]), twin[patch.node], kept)


def _without_builtin_names(program: ExportedProgram) -> None:
    """Inputs called like a builtin (`input`, as of nn.Sequential) get a name that `unflatten` keeps."""
    new = {spec.arg.name: f"given_{spec.arg.name}" for spec in program.graph_signature.input_specs}
    new = {old: name for old, name in new.items() if hasattr(builtins, old)}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in new:
            node.target = new[node.name]
            node._rename(new[node.name])
    signatures = [entry.signature for entry in program.module_call_graph if entry.signature]
    said = [spec.arg for spec in program.graph_signature.input_specs]
    said += [arg for signature in signatures for arg in signature.inputs]
    for arg in said:
        arg.name = new.get(arg.name, arg.name)


def _measure_inside(program: ExportedProgram, owner: str) -> None:
    """Let a module read free sizes off its own inputs: the graph reads them off the network's."""
    entry = next(e for e in program.module_call_graph if e.fqn == owner)
    named = {node.name: node for node in program.graph.nodes}
    inputs = entry.signature.inputs if entry.signature else ()
    given = [named[a.name] for a in inputs if a.name in named]
    tensors = [node for node in given if isinstance(node.meta["val"], Tensor)]
    for node in list(program.graph.nodes):
        for size in node.all_input_nodes if _inside(node, owner) else ():
            if _is_size(size) and size not in given and not _is_own(size, owner, given):
                _measure_again(program.graph, node, size, tensors)
    _without_unused_sizes(program.graph)


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _is_own(size: fx.Node, owner: str, given: Sequence[fx.Node]) -> bool:
    """Whether a size is read off a tensor that the module is given or makes."""
    source = size.args[0] if base_name(size) == "sym_size" else None
    return isinstance(source, fx.Node) and (source in given or _inside(source, owner))


def _measure_again(graph: fx.Graph, node: fx.Node, size: fx.Node, given: Sequence[fx.Node]) -> None:
    """Let `node` have `size` from a tensor of `given` with a size in a fixed proportion to it."""
    for source, dim, ratio in _proportional(given, size):
        with graph.inserting_before(node):
            own = graph.call_function(torch.ops.aten.sym_size.int, (source, dim))
            own.meta = {**node.meta, "val": source.meta["val"].shape[dim]}
            if ratio != 1:
                own = graph.call_function(times, (own, int(ratio.p), int(ratio.q)))
                own.meta = {**node.meta, "val": size.meta["val"]}
            node.replace_input_with(size, own)
        return


def _proportional(given: Sequence[fx.Node], size: fx.Node) -> Iterator[tuple[fx.Node, int, Any]]:
    """Tensors and dimensions whose size is in a fixed proportion to `size`, the same size first."""
    found = [
        (node, dim, size.meta["val"].node.expr / n.node.expr)
        for node in given
        for dim, n in enumerate(node.meta["val"].shape)
        if isinstance(n, torch.SymInt)
    ]
    yield from sorted((f for f in found if f[2].is_Rational), key=lambda f: f[2] != 1)


def _without_unused_sizes(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and _is_size(node) and not node.users:
            graph.erase_node(node)


def _inside(node: fx.Node, module: str) -> bool:
    stack = node.meta.get("nn_module_stack") or {}
    return any(str(name).split("@")[0] == module for name, _ in stack.values())


def _calls(graph: fx.Graph) -> list[fx.Node]:
    return [n for n in graph.nodes if n.op == "call_function"]


def _cut(program: ExportedProgram, found: Inference, kept: Kept) -> None:
    for held in (program.state_dict, program.constants):
        for name, tensor in list(held.items()):
            if name in found.terms and isinstance(tensor, Tensor):
                held[name] = cut_tensor(tensor, found.terms[name], kept)


def put(model: nn.Module, parts: Mapping[str, nn.Module]) -> None:
    """Let graphs stand for submodules, which code around them may go on reading settings off."""
    for name, part in parts.items():
        before = model.get_submodule(name)
        known = dict(before.named_modules())
        for inner, module in part.named_modules():
            if inner in known:
                _say_alike(module, known[inner])
        model.set_submodule(name, part)
    unfuse(model, InterpreterModule)


def _say_alike(part: nn.Module, module: nn.Module) -> None:
    """Plain attributes of `module`, and its parameters that are None, on the graph in its place.

    `nn.TransformerEncoderLayer` reads `self_attn.batch_first` and `self_attn.in_proj_bias`.
    """
    plain = {name: value for name, value in vars(module).items() if _plain(value)}
    absent = {**module._parameters, **module._buffers}
    plain |= {name: None for name, tensor in absent.items() if tensor is None}
    for name, value in plain.items():
        if not hasattr(part, name):
            setattr(part, name, value)


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, int | float | str)


def _trainable(part: nn.Module) -> nn.Module:
    for module in part.modules():
        if isinstance(module, InterpreterModule):
            module.__class__ = GraphPart
    return part
