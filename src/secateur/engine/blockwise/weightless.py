"""What a model on the meta device could lose: structures are found without its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.recipe import Recipe
from ...core.types import Target
from ..plan import Plan, make_plan


def example_for(model: nn.Module) -> dict[str, Tensor]:
    """Two short inputs of different tokens, to trace on."""
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    ids = torch.arange(32).view(2, 16) % table.weight.shape[0]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def on_meta(example: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same shapes without values."""
    return {name: tensor.to("meta") for name, tensor in example.items()}


def targets_of(model: nn.Module, recipe: Recipe) -> tuple[Target, ...]:
    """The targets of a model without weights; its solver's parameters are added to it, without values.

    What is found by tracing needs shapes alone. What is found by running gets zeros, module by
    module: blocks are known by what they do when their weights are zero.
    """
    found = _targets(model, recipe)
    if recipe.solver is not None and recipe.solver.prepare(model, found):
        return _targets(model, recipe)
    return found


def _targets(model: nn.Module, recipe: Recipe) -> tuple[Target, ...]:
    with _seen(model, recipe) as (shapes, example):
        return recipe.structure.targets(shapes, example)


def plan_of(model: nn.Module, recipe: Recipe) -> Plan:
    """The plan of a recipe on a model without weights."""
    with _seen(model, recipe) as (shapes, example):
        return make_plan(shapes, recipe, example)


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
