"""What each weight of a layer multiplies: its input, or what the layer makes of it on the way.

Recurrent layers and attention hold several weights, of which the first alone, if any, reads what the layer is
given. What the others read is worked out from the layer's own weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.instead import call_with

RECURRENT = re.compile(r"weight_(ih|hh)_l(\d+)(_reverse)?")
OUT = "out_proj"
STEPS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


def caller_of(model: nn.Module, path: str) -> tuple[str, str]:
    """Where a layer is called, and what it is called there: itself, or the attention that it ends.

    `nn.MultiheadAttention` reads the weights of its `out_proj` and never calls it.

    >>> caller_of(nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2)}), "attn.out_proj")
    ('attn', 'out_proj.')
    """
    around, _, name = path.rpartition(".")
    inside = name == OUT and isinstance(model.get_submodule(around), nn.MultiheadAttention)
    return (around, f"{OUT}.") if inside else (path, "")


def called_at(model: nn.Module, param: str) -> tuple[nn.Module, str]:
    """The module that is called where a weight is used, and the name of the weight in it."""
    path, _, leaf = param.rpartition(".")
    called, inside = caller_of(model, path)
    return model.get_submodule(called), inside + leaf


def first_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a layer reads: its first argument or keyword."""
    return args[0] if args else next(iter(kwargs.values()))


def entering(module: nn.Module, weight: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a weight of a layer multiplies when the layer is called so; None where that is not one tensor.

    Args:
        module: the layer, e.g. a linear one, an LSTM, an attention.
        weight: the name of the parameter in it.
        args, kwargs: what the layer is called with.
    """
    if isinstance(module, nn.RNNBase):
        return _recurrent(module, weight, [*args, *kwargs.values()])
    if isinstance(module, nn.MultiheadAttention):
        return _attention(module, weight, args, kwargs)
    return first_of(args, kwargs)


def _attention(
    module: nn.MultiheadAttention, weight: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Of a fused projection the one input of queries, keys and values; of the output what attention gives."""
    if weight.startswith(OUT):
        width = module.embed_dim
        like = module.out_proj.weight
        values = {f"{OUT}.weight": torch.eye(width, dtype=like.dtype, device=like.device)}
        if module.out_proj.bias is not None:
            values[f"{OUT}.bias"] = torch.zeros_like(module.out_proj.bias)
        with torch.no_grad():
            return _unhooked(module, lambda: call_with(module, values, args, kwargs))[0]
    names = ("query", "key", "value")
    given = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    if weight == "in_proj_weight":
        one = all(given[name] is given["query"] for name in names)
        return given["query"] if one else None
    return given[{"q": "query", "k": "key", "v": "value"}[weight[0]]]


def _unhooked(module: nn.Module, run: Callable[[], Any]) -> Any:
    """What `run` gives while the hooks of a module rest."""
    before, module._forward_pre_hooks = module._forward_pre_hooks, type(module._forward_pre_hooks)()
    after, module._forward_hooks = module._forward_hooks, type(module._forward_hooks)()
    try:
        return run()
    finally:
        module._forward_pre_hooks, module._forward_hooks = before, after


def _recurrent(module: nn.RNNBase, weight: str, given: Sequence[Any]) -> Tensor | None:
    """The input below a layer, or the states its steps begin with: layer after layer, way after way."""
    x, states = given[0], given[1] if len(given) > 1 else None
    named = RECURRENT.fullmatch(weight)
    if not isinstance(x, Tensor) or x.dim() != 3 or module.proj_size or named is None:
        return None
    turned = x.transpose(0, 1) if module.batch_first else x
    with torch.no_grad():
        read = _read(module, named, turned, states)
    return read.transpose(0, 1) if module.batch_first else read


def _read(module: nn.RNNBase, named: re.Match[str], x: Tensor, states: Any) -> Tensor:
    """`x` is [steps, samples, features]."""
    ways = ("", "_reverse") if module.bidirectional else ("",)
    for layer in range(int(named[2])):
        x = torch.cat([_run(module, layer, way, ways, x, states)[1] for way in ways], -1)
    if named[1] == "ih":
        return x
    return _run(module, int(named[2]), named[3] or "", ways, x, states)[0]


def _run(
    module: nn.RNNBase, layer: int, way: str, ways: tuple[str, ...], x: Tensor, states: Any
) -> tuple[Tensor, Tensor]:
    """(state before each step, state after it) of one layer in one direction, in the order of the input."""
    number = layer * len(ways) + ways.index(way)
    begin = _begin(module, number, x, states)
    names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
    own = [getattr(module, f"{name}_l{layer}{way}") for name in names]
    steps = x.flip(0) if way else x
    after = STEPS[module.mode](steps, begin, own, module.bias, 1, 0.0, False, False, False)[0]
    first = begin[0] if isinstance(begin, tuple) else begin
    before = torch.cat([first, after[:-1]])
    return (before.flip(0), after.flip(0)) if way else (before, after)


def _begin(module: nn.RNNBase, number: int, x: Tensor, states: Any) -> Any:
    """The states that one layer in one direction begins with, [1, samples, width]."""
    if states is None:
        zero = x.new_zeros(1, x.shape[1], module.hidden_size)
        return (zero, zero) if isinstance(module, nn.LSTM) else zero
    if isinstance(states, tuple):
        return tuple(state[number : number + 1] for state in states)
    return states[number : number + 1]
