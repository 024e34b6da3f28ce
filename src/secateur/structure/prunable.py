"""Which parameters of a network are weights that may be pruned, and which is its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from ..core.errors import DataError, PlanError
from ..core.modes import mode
from ..core.names import pick

_OUT_IN = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.RNNBase)
EXPERT = "expert"
"""The dimension of a stacked weight that says which expert a matrix belongs to."""


@dataclass(frozen=True)
class Weight:
    """One prunable weight: its name, the module that owns it, its tensor and its dimensions."""

    name: str
    layer: str
    tensor: torch.Tensor
    dims: tuple[str, ...]


def prunable(model: nn.Module) -> list[Weight]:
    """Weights of linear, convolution, attention and recurrent layers, and of experts; tied ones once.

    Linear layers that store the input first (GPT-2's) and weights that stack the matrices of several
    experts in one tensor are told by their shapes and attributes, not by their class.
    Embeddings, norms, biases and free parameters (position tables, class tokens) are no weights
    in this sense: name them in `include` to prune them.
    """
    names = {id(p): name for name, p in model.named_parameters()}  # a tied one goes by its first
    found: dict[int, Weight] = {}
    for layer, module in model.named_modules():
        for tensor in module.parameters(recurse=False):
            dims = _dims(module, tensor)
            if dims is not None:
                found.setdefault(id(tensor), Weight(names[id(tensor)], layer, tensor, dims))
    return list(found.values())


def _dims(module: nn.Module, tensor: torch.Tensor) -> tuple[str, ...] | None:
    """`out`, `in`, then kernel dimensions; None for what is no prunable weight of the module."""
    if tensor.dim() < 2 or not tensor.is_floating_point():
        return None
    if isinstance(module, _OUT_IN):
        first = ("in", "out") if isinstance(module, _ConvTransposeNd) else ("out", "in")
        return (*first, *["k"] * (tensor.dim() - 2))
    if _stores_input_first(module, tensor):
        return ("in", "out")
    if _stacks_experts(module, tensor):
        return (EXPERT, "in", "out") if _turned(module, tensor) else (EXPERT, "out", "in")
    return None


def _stores_input_first(module: nn.Module, tensor: torch.Tensor) -> bool:
    """A layer with one weight [nx, nf] and a bias [nf], as transformers' Conv1D has them."""
    nf = getattr(module, "nf", None)
    return tensor is getattr(module, "weight", None) and nf is not None and tensor.shape[1] == nf


def _stacks_experts(module: nn.Module, tensor: torch.Tensor) -> bool:
    """A tensor [experts, ., .] of a module that says in an attribute how many experts it has."""
    said = (n for a, n in vars(module).items() if "experts" in a and type(n) is int)
    return tensor.dim() == 3 and tensor.shape[0] in said


def _turned(module: nn.Module, tensor: torch.Tensor) -> bool:
    """Whether a stacked weight stores its inputs first.

    Where the module does not say it, gate and up projection in one tell: [., a, 2b] writes what [., b, a]
    reads if inputs come first, [., 2b, a] and [., a, b] if outputs do.
    """
    said = getattr(module, "is_transposed", None)
    if said is not None:
        return bool(said)
    stacks = [tuple(p.shape[1:]) for p in module.parameters(recurse=False) if p.dim() == 3]
    return any(a[0] == b[1] and a[1] == 2 * b[0] for a in stacks for b in stacks)


def classifier(model: nn.Module, example: Any = None) -> str | None:
    """Name of the last linear layer or, without one, the last convolution; None if there is none.

    With an example the layer that ran last counts, otherwise what a language model calls its output
    embeddings, or the one registered last.
    """
    if example is None and (named := _output_embeddings(model)):
        return named
    every = dict(model.named_modules())
    heads: dict[str, nn.Module] = {n: m for n, m in every.items() if isinstance(m, nn.Linear)}
    if not heads:
        heads = {n: m for n, m in every.items() if isinstance(m, _ConvNd)}
    ran = list(_order(model, heads, example)) if example is not None and heads else []
    last = ran or list(heads)
    return last[-1] if last else None


def _output_embeddings(model: nn.Module) -> str | None:
    """The linear layer that transformers' models name as their head; some register it first."""
    named = getattr(model, "get_output_embeddings", None)
    head = named() if callable(named) else None
    if not isinstance(head, nn.Linear):
        return None
    return next((name for name, module in model.named_modules() if module is head), None)


def _order(model: nn.Module, layers: dict[str, nn.Module], example: Any) -> Iterator[str]:
    """Names of `layers` in the order in which a forward pass on `example` runs them."""
    ran: list[str] = []
    hooks = [m.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, m in layers.items()]
    try:
        with mode(model, train=False), torch.no_grad():
            call(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return iter(ran)


def call(model: nn.Module, example: Any) -> Any:
    """Run the model on an example: a tensor, a tuple of arguments, or a dict of keywords."""
    try:
        if isinstance(example, dict):
            return model(**example)
        return model(*example) if isinstance(example, tuple | list) else model(example)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the model cannot take the example of shape {_shape(example)}: {reason}; "
            "give an input as the network expects it"
        ) from error


def _shape(example: Any) -> str:
    """The shape of a tensor, of each of several, or the type of anything else."""
    if isinstance(example, torch.Tensor):
        return str(tuple(example.shape))
    if isinstance(example, dict):
        return str({name: _shape(value) for name, value in example.items()})
    if isinstance(example, tuple | list):
        return f"({', '.join(map(_shape, example))})"
    return type(example).__name__


def chosen(
    model: nn.Module,
    example: Any,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    with_classifier: bool,
) -> list[Weight]:
    """The weights that remain after `include`, `exclude` and the classifier rule.

    With `include`, only what it names is pruned, the classifier and free parameters too when
    named; `exclude` may also name what is not pruned anyway. A model without any prunable weight
    is an error, and so is, but with `include`, a layer whose weight is computed from other tensors.
    """
    every = {w.name: w for w in prunable(model)}
    weights = every
    if include:
        every = {**_free(model), **every}
        weights = {name: every[name] for name in pick(include, every)}
    computed = {} if include else computed_weights(model)
    if not include and not with_classifier:
        head = classifier(model, example)
        weights = {n: w for n, w in weights.items() if w.layer != head or len(weights) == 1}
        computed = {name: layer for name, layer in computed.items() if layer != head}
    left_out = set(pick(exclude, [*every, *computed]))
    if left := [name for name in computed if name not in left_out]:
        instead = f"leave it dense: exclude='{left[0]}'"
        raise PlanError(no_change(left, "a mask on it", instead))
    weights = {name: weight for name, weight in weights.items() if name not in left_out}
    if not weights:
        raise PlanError(
            "the model has no prunable layers (linear, convolution, attention, recurrent) "
            "left; name parameters with include=..."
        )
    return list(weights.values())


def computed_weights(model: nn.Module) -> dict[str, str]:
    """Weights that a parametrisation (weight norm, spectral norm, …) computes, and their layers."""
    return {
        f"{layer}.{leaf}": layer
        for layer, module in model.named_modules()
        if isinstance(module, _OUT_IN) and is_parametrized(module)
        for leaf in getattr(module, "parametrizations", {})
        if "bias" not in leaf
    }


def no_change(left: list[str], what: str, instead: str) -> str:
    """Why computed weights cannot have `what`, and what to do; `instead` is the other way."""
    layer, _, leaf = left[0].rpartition(".")
    more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    return (
        f"'{left[0]}'{more} is computed by a parametrisation before every pass, and {what} would not "
        f"last; bake it in with torch.nn.utils.parametrize.remove_parametrizations(model.get_submodule("
        f"'{layer}'), '{leaf}'), or {instead}"
    )


def _free(model: nn.Module) -> dict[str, Weight]:
    """Every floating parameter with two dimensions or more, for explicit naming."""
    return {
        name: Weight(name, name.rpartition(".")[0], p, ("out", "in", *["k"] * (p.dim() - 2)))
        for name, p in model.named_parameters()
        if p.dim() >= 2 and p.is_floating_point()
    }
