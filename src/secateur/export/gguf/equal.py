"""Equal widths: narrower layers get neurons and heads of zeros, which add nothing to what is computed.

A neuron whose down projection is zero, and a head whose output projection is, add 0 to the residual
stream whatever goes in; their other weights are zero too, so that all of them compute act(0) and
attend evenly to values of 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secateur.core.errors import PlanError
from secateur.export.gguf.families import Family
from secateur.export.gguf.layers import Layer
from secateur.export.gguf.weights import Weights

Wide = dict[int, tuple[int, int]]
"""Dimension -> (parts that lie one after another in it, size of each part afterwards)."""


def equalised(
    weights: Weights, family: Family, layers: tuple[Layer, ...], head_dim: int, hidden: int
) -> tuple[Weights, tuple[str, ...]]:
    """The weights with every layer as wide as the widest, and what was added.

    >>> from secateur.export.gguf.families import FAMILIES
    >>> half = {"model.layers.1.mlp.down_proj.weight": torch.ones(2, 3)}
    >>> layers = (Layer(0, 1, 1, 5), Layer(1, 1, 1, 3))
    >>> source = Weights({n: tuple(t.shape) for n, t in half.items()}, lambda name: half[name])
    >>> wide, notes = equalised(source, FAMILIES["gemma2"], layers, 2, 2)
    >>> wide.load("model.layers.1.mlp.down_proj.weight").tolist(), notes
    ([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]], ('layer 1: 2 neurons of zeros',))
    """
    if family.fused:
        raise PlanError(f"{family.arch} holds uneven widths as they are; leave equal_widths out")
    widest = _widest(layers, family, hidden // head_dim)
    shapes, loads = dict(weights.shapes), {}
    for layer in layers:
        for name, dims in _tensors(family, layer, widest, head_dim).items():
            if name in shapes:
                loads[name] = _padded(weights, name, dims)
                shapes[name] = _shape(weights.shapes[name], dims)
    wide = Weights(shapes, lambda name: loads[name]() if name in loads else weights.load(name))
    notes = tuple(note for layer in layers for note in _notes(layer, widest))
    return wide, notes


def _widest(layers: tuple[Layer, ...], family: Family, square: int) -> Layer:
    """The widths that all layers can have."""
    if any(not all(layer.widths) for layer in layers):
        raise PlanError("a layer without attention or FFN has nothing to widen; drop whole layers")
    ratios = {layer.heads // layer.kv_heads for layer in layers}
    if len(ratios) > 1:
        raise PlanError(
            f"layers have {sorted(ratios)} query heads for each key-value head; only whole groups, "
            "the same everywhere, can be made equal"
        )
    heads = square if family.square else max(layer.heads for layer in layers)
    return Layer(0, heads, heads // ratios.pop(), max(layer.ffn for layer in layers))


def _tensors(family: Family, layer: Layer, widest: Layer, head_dim: int) -> dict[str, Wide]:
    """Which dimensions of a layer's tensors grow, and to what."""
    at = f"{family.prefix}{layer.source}."
    query, key = widest.heads * head_dim, widest.kv_heads * head_dim
    if family.arch == "gpt2":  # weights are stored [in, out]
        grown: dict[str, Wide] = {
            "attn.c_attn.weight": {1: (3, query)},
            "attn.c_attn.bias": {0: (3, query)},
            "attn.c_proj.weight": {0: (1, query)},
            "mlp.c_fc.weight": {1: (1, widest.ffn)},
            "mlp.c_fc.bias": {0: (1, widest.ffn)},
            "mlp.c_proj.weight": {0: (1, widest.ffn)},
        }
        return {at + name: dims for name, dims in grown.items()}
    rows = {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": key}
    rows |= {"mlp.gate_proj": widest.ffn, "mlp.up_proj": widest.ffn}
    grown = {
        f"{name}.{part}": {0: (1, n)} for name, n in rows.items() for part in ("weight", "bias")
    }
    grown["self_attn.o_proj.weight"] = {1: (1, query)}
    grown["mlp.down_proj.weight"] = {1: (1, widest.ffn)}
    return {at + name: dims for name, dims in grown.items()}


def _shape(shape: tuple[int, ...], dims: Wide) -> tuple[int, ...]:
    return tuple(dims[d][0] * dims[d][1] if d in dims else n for d, n in enumerate(shape))


def _padded(weights: Weights, name: str, dims: Wide) -> Callable[[], Tensor]:
    def load() -> Tensor:
        tensor = weights.load(name)
        for dim, (parts, size) in dims.items():
            pieces = [_longer(piece, dim, size) for piece in tensor.chunk(parts, dim)]
            tensor = torch.cat(pieces, dim)
        return tensor

    return load


def _longer(tensor: Tensor, dim: int, size: int) -> Tensor:
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def _notes(layer: Layer, widest: Layer) -> list[str]:
    more = {
        "neurons": widest.ffn - layer.ffn,
        "heads": widest.heads - layer.heads,
    }
    return [f"layer {layer.source}: {n} {what} of zeros" for what, n in more.items() if n]
