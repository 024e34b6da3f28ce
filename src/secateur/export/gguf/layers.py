"""The widths of every layer, read from the shapes of its weights, and the layout that can hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from secateur.core.errors import PlanError
from secateur.export.gguf.families import DECI, Family, refuse_uneven
from secateur.export.gguf.weights import Weights

EMPTY_FFN = 32
"""Neurons of a zero FFN: one quantisation block wide."""


@dataclass(frozen=True)
class Layer:
    """One layer: its number in the source, and its widths; 0 where a sub-layer was removed."""

    source: int
    heads: int
    kv_heads: int
    ffn: int

    @property
    def widths(self) -> tuple[int, int, int]:
        return (self.heads, self.kv_heads, self.ffn)


@dataclass(frozen=True)
class Plan:
    """What will be written: the layout, the layers in order, and what was changed to fit.

    A `Layer` whose source lacks a sub-layer that its widths name gets that one written as zeros.
    """

    family: Family
    target: Family
    hidden: int
    head_dim: int
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


def widths(weights: Weights, config: Any, family: Family) -> tuple[Layer, ...]:
    """The layers as they are, those too that have lost everything."""
    numbers = _numbers(weights, family)
    return tuple(_layer(weights, family, head_width(config), n) for n in numbers)


def plan(weights: Weights, config: Any, family: Family) -> Plan:
    """The layout for these weights: the family's own, or `deci` where layers differ in width."""
    head_dim, hidden = head_width(config), hidden_size(weights, family)
    found = widths(weights, config, family)
    layers = tuple(layer for layer in found if any(_parts(weights, family, layer)))
    if not layers:
        raise PlanError(f"no layer '{family.prefix}N' with attention or FFN in the weights")
    notes = _dropped(len(found) - len(layers))
    obstacle = _obstacle(weights, layers, family, hidden // head_dim)
    if obstacle is None:
        return Plan(family, family, hidden, head_dim, layers, notes)
    if not family.uneven:
        raise refuse_uneven(config, obstacle)
    _check_deci(config, head_dim)
    layers, more = _filled(weights, family, layers)
    return Plan(family, DECI, hidden, head_dim, layers, notes + more)


def head_width(config: Any) -> int:
    """Numbers per head; the configuration's own, else hidden size / heads."""
    stated = getattr(config, "head_dim", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def _numbers(weights: Weights, family: Family) -> list[int]:
    pattern = re.compile(re.escape(family.prefix) + r"(\d+)\.")
    found = (pattern.match(name) for name in weights.shapes)
    return sorted({int(match.group(1)) for match in found if match})


def _layer(weights: Weights, family: Family, head_dim: int, n: int) -> Layer:
    read = _gpt2 if family.arch == "gpt2" else _fused if family.fused else _split
    query, key, ffn = read(weights, f"{family.prefix}{n}.")
    for what, rows in (("query", query), ("key", key)):
        if rows % head_dim:
            raise PlanError(
                f"layer {n}: {rows} {what} rows are no multiple of the head width {head_dim}; "
                f"prune whole heads"
            )
    layer = Layer(n, query // head_dim, key // head_dim, ffn)
    if layer.heads and (not layer.kv_heads or layer.heads % layer.kv_heads):
        raise PlanError(
            f"layer {n}: {layer.heads} query heads cannot share {layer.kv_heads} key-value heads "
            f"evenly; prune whole groups"
        )
    return layer


def _rows(weights: Weights, name: str, dim: int = 0) -> int:
    return weights.shapes[name][dim] if name in weights else 0


def _split(weights: Weights, at: str) -> tuple[int, int, int]:
    """Rows of query and key, FFN length, of a layer with separate projections."""
    return (
        _rows(weights, f"{at}self_attn.q_proj.weight"),
        _rows(weights, f"{at}self_attn.k_proj.weight"),
        _rows(weights, f"{at}mlp.gate_proj.weight"),
    )


def _fused(weights: Weights, at: str) -> tuple[int, int, int]:
    query = _rows(weights, f"{at}self_attn.o_proj.weight", dim=1)
    keys_and_values = _rows(weights, f"{at}self_attn.qkv_proj.weight") - query
    return query, keys_and_values // 2, _rows(weights, f"{at}mlp.gate_up_proj.weight") // 2


def _gpt2(weights: Weights, at: str) -> tuple[int, int, int]:
    third = _rows(weights, f"{at}attn.c_attn.weight", dim=1) // 3  # stored [in, out]
    return third, third, _rows(weights, f"{at}mlp.c_fc.weight", dim=1)


def hidden_size(weights: Weights, family: Family) -> int:
    """The width of the residual stream, from the embedding [vocabulary, hidden]."""
    name = "transformer.wte.weight" if family.arch == "gpt2" else "model.embed_tokens.weight"
    if name not in weights:
        raise PlanError(
            f"the weights lack '{name}'; pass a causal language model, not a part of it"
        )
    return weights.shapes[name][1]


def _obstacle(
    weights: Weights, layers: tuple[Layer, ...], family: Family, square_heads: int
) -> str | None:
    """Why the family's own layout cannot hold these layers, or None where it can."""
    first = layers[0]
    if any(layer.widths != first.widths for layer in layers) or not all(first.widths):
        return _uneven_widths(layers)
    if family.square and first.heads != square_heads:
        return f"llama.cpp expects {square_heads} heads in each of its layers, not {first.heads}"
    if family.arch not in ("llama", "gpt2") and any(map(_is_added_bias, weights.shapes)):
        return "its output projections have biases, which llama.cpp does not read for this family"
    return None


def _is_added_bias(name: str) -> bool:
    """A bias that compensates for removed units, where the family has none of its own."""
    return name.endswith(("self_attn.o_proj.bias", "mlp.down_proj.bias"))


def _uneven_widths(layers: tuple[Layer, ...]) -> str:
    widths = [f"{n}: {layer.widths}" for n, layer in enumerate(layers[:6])]
    more = ", …" if len(layers) > 6 else ""
    return f"its widths (heads, key-value heads, FFN) are {', '.join(widths)}{more}"


def _check_deci(config: Any, head_dim: int) -> None:
    """`deci` runs SiLU gates and rotates the whole head."""
    if getattr(config, "hidden_act", None) not in ("silu", "swish"):
        raise refuse_uneven(config, f"'deci' runs SiLU, not {config.hidden_act}")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise refuse_uneven(config, f"'deci' rotates all {head_dim} numbers of a head, not a part")


def _dropped(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{count} layers without attention and FFN are left out",)


def _parts(weights: Weights, family: Family, layer: Layer) -> tuple[bool, bool]:
    """Whether attention and FFN add anything; a bias may be all that is left of either."""
    at = f"{family.prefix}{layer.source}."
    attention = layer.heads > 0 or f"{at}self_attn.o_proj.bias" in weights
    return attention, layer.ffn > 0 or f"{at}mlp.down_proj.bias" in weights


def _filled(
    weights: Weights, family: Family, layers: tuple[Layer, ...]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Give zeros to the sub-layers that llama.cpp cannot do without.

    Its graph drops the attention of a layer that has no FFN and the bias of attention without
    heads, and takes the head width to be 0 where the first layer has no attention. Zeros in the
    residual stream change nothing.
    """
    notes = []
    done = list(layers)
    for n, layer in enumerate(done):
        if not layer.heads and (n == 0 or _parts(weights, family, layer)[0]):
            done[n] = replace(done[n], heads=1, kv_heads=1)
            notes.append(f"layer {n} has no attention: one head of zeros is written")
        if not layer.ffn:
            done[n] = replace(done[n], ffn=EMPTY_FFN)
            notes.append(f"layer {n} has no FFN: {EMPTY_FFN} neurons of zeros are written")
    return tuple(done), tuple(notes)
