"""What a model on the meta device could lose: structures are found without its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.axes import Structure
from ...core.errors import PlanError
from ...core.labelled import keywords
from ...core.recipe import Recipe
from ...core.types import Target
from ...structure.alike import looks
from ...structure.coupled import Coupled, trace_example
from ...structure.experts import mixtures
from ...structure.graph import Axis, ValuesNeeded
from ...structure.one_of_each import OneOfEach, one_of_each
from ..chosen import in_blocks
from ..plan import Plan, make_plan
from .blocks import find_blocks
from .conductor import bare_copy


def example_for(model: nn.Module) -> dict[str, Tensor]:
    """Two short inputs of different tokens, to trace on."""
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    where = "cpu" if table.weight.is_meta else table.weight.device
    ids = torch.arange(32, device=where).view(2, 16) % table.weight.shape[0]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def on_meta(example: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same shapes without values."""
    return {name: tensor.to("meta") for name, tensor in example.items()}


@dataclass(frozen=True)
class Found:
    """The targets of a model without weights.

    Attributes:
        targets: as its structure gives them.
        each: the model with one block of each kind, where they were found in it.
    """

    targets: tuple[Target, ...]
    each: OneOfEach | None = None


def find(model: nn.Module, recipe: Recipe) -> Found:
    """The targets of a model without weights; its solver's parameters are added to it, without values.

    What is found by tracing needs shapes alone, and of equal blocks one is traced. What is found by
    running gets zeros, module by module: blocks are known by what they do when their weights are zero.
    """
    found = _find(model, recipe)
    if recipe.solver is not None and recipe.solver.prepare(model, found.targets):
        return _find(model, recipe)
    return found


def _find(model: nn.Module, recipe: Recipe) -> Found:
    with _seen(model, recipe) as (shapes, example):
        one = _in_one_of_each(shapes, example, recipe.structure)
        if one is not None:
            return one
        targets = recipe.structure.targets(shapes, example)
        if recipe.basis is not None:
            return Found(targets)
        try:
            return Found(in_blocks(recipe, find_blocks(model), targets))
        except PlanError:
            return Found(targets)  # whoever walks the blocks says that there are none


def _in_one_of_each(shapes: nn.Module, example: Any, structure: Structure) -> Found | None:
    """Found by tracing one block of each kind; None where blocks are asked for by name, or all differ."""
    if not isinstance(structure, Coupled):
        return None
    if structure.include or structure.exclude or structure.outputs:
        return None
    each = one_of_each(shapes, example, [block.name for block in find_blocks(shapes)])
    if each is None:
        return None
    targets = each.targets(structure.of(each.traced, each.model))
    return Found(targets, each) if targets is not None else None


def axes_of(model: nn.Module, batches: Sequence[Any]) -> tuple[Axis, ...]:
    """Every axis of a model, found without its weights where values do not decide its way.

    Of equal blocks one is traced; an axis that runs through all of them is that of the whole model.
    """
    if batches and not isinstance(batches[0], Mapping):  # an input, or one with its target
        given = batches[0][0] if isinstance(batches[0], tuple | list) else batches[0]
        return trace_example(model, given[:2], "an order of inputs").axes
    example = (_short(batches[0]) if batches else {}) or example_for(model)
    if why_untraced(model):
        if any(p.is_meta for p in model.parameters()):
            raise PlanError(f"the order of inputs is found by tracing; {why_untraced(model)}")
        return trace_example(model, example, "an order of inputs").axes
    shapes = _without_values(model)
    each = one_of_each(shapes, on_meta(example), [block.name for block in find_blocks(model)])
    if each is None:
        return trace_example(shapes, on_meta(example), "an order of inputs").axes
    return each.everywhere(each.traced.axes)


def _short(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Two rows of a few tokens of a batch's keywords; empty where it has fewer."""
    given = keywords(batch)
    if any(v.dim() < 2 or v.shape[1] < 2 for v in given.values()):
        return {}
    return {name: torch.cat([v[:1, :16]] * 2) for name, v in given.items()}


def _without_values(model: nn.Module) -> nn.Module:
    """A copy on the meta device; nothing of the model itself is copied."""
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in model.parameters()
    }
    return bare_copy(model, dict(empty)).to("meta")


def why_untraced(model: nn.Module) -> str:
    """What keeps a model from being traced without its weights; empty where nothing does."""
    if mixtures(model):
        return (
            "its routers decide by values which expert runs, so that weights are needed to trace it"
        )
    try:
        layers = [block.name for block in find_blocks(model)]
    except PlanError as error:
        return str(error).partition(";")[0]
    shapes, example = _without_values(model), on_meta(example_for(model))
    return "" if looks(shapes, example, layers) is not None else _why_not(shapes, example)


def _why_not(shapes: nn.Module, example: dict[str, Tensor]) -> str:
    """What tracing without weights comes to grief on; empty where it goes through."""
    try:
        trace_example(shapes, example, "a plan without weights")
    except ValuesNeeded as error:
        return str(error).partition(". Remedy")[0]
    return ""


def plan_of(model: nn.Module, recipe: Recipe) -> Plan:
    """The plan of a recipe on a model without weights."""
    turned = model
    if recipe.basis is not None:
        turned = copy.deepcopy(model)
        recipe.basis.rewrite(turned, None)
    targets = _find(turned, recipe).targets
    with _seen(model, recipe) as (shapes, example):
        return make_plan(shapes, recipe, example, targets)


@contextmanager
def _seen(model: nn.Module, recipe: Recipe) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
    """A model and an example that structures are found with."""
    if recipe.structure.traces:
        yield copy.deepcopy(model).to("meta"), on_meta(example_for(model))  # buffers too
        return
    with zeros_when_called(model):
        yield model, example_for(model)


@contextmanager
def zeros_when_called(model: nn.Module) -> Iterator[None]:
    """Inside, a module's own parameters without values are zeros for as long as it runs."""
    held: dict[nn.Module, dict[str, Any]] = {}

    def before(module: nn.Module, args: Any) -> None:
        empty = {n: p for n, p in module._parameters.items() if p is not None and p.is_meta}
        if empty:  # also where a call before this one was made without hooks behind it
            held[module] = empty
        for name, p in empty.items():
            zeros = torch.zeros(p.shape, dtype=p.dtype)
            module._parameters[name] = nn.Parameter(zeros, requires_grad=False)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if module in held:
            module._parameters.update(held.pop(module))

    hooks = [
        hook
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
        for hook in (
            module.register_forward_pre_hook(before, prepend=True),
            module.register_forward_hook(after, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
