"""Cut heads, neurons and whole sub-layers out of tiny decoders, by hand."""

from __future__ import annotations

import torch
from torch import nn


class NoAttention(nn.Module):
    """What stands in for removed attention: nothing is added to the residual stream."""

    def forward(self, hidden_states, *args, **options):
        return torch.zeros_like(hidden_states), None


class NoFfn(nn.Module):
    """What stands in for a removed FFN."""

    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


def _kept(linear: nn.Linear, rows=None, columns=None) -> nn.Linear:
    weight, bias = linear.weight.data, linear.bias
    weight = weight if rows is None else weight[rows]
    weight = weight if columns is None else weight[:, columns]
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    new.weight.data = weight.clone()
    if bias is not None:
        new.bias.data = bias.data.clone() if rows is None else bias.data[rows].clone()
    return new


def keep_groups(attention: nn.Module, groups: list[int], head: int, per_group: int = 2) -> None:
    """Keep these key-value heads, each with its query heads."""
    key = torch.cat([torch.arange(g * head, (g + 1) * head) for g in groups])
    width = head * per_group
    query = torch.cat([torch.arange(g * width, (g + 1) * width) for g in groups])
    if hasattr(attention, "qkv_proj"):
        _keep_fused(attention, query, key, len(groups), per_group)
    else:
        attention.q_proj = _kept(attention.q_proj, query)
        attention.k_proj = _kept(attention.k_proj, key)
        attention.v_proj = _kept(attention.v_proj, key)
    attention.o_proj = _kept(attention.o_proj, columns=query)


def _keep_fused(attention: nn.Module, query, key, groups: int, per_group: int) -> None:
    import copy

    queries = attention.o_proj.in_features
    keys = (attention.qkv_proj.out_features - queries) // 2
    rows = torch.cat([query, queries + key, queries + keys + key])
    attention.qkv_proj = _kept(attention.qkv_proj, rows)
    attention.config = copy.copy(attention.config)  # Phi-3 cuts the fused rows by these counts
    attention.config.num_attention_heads = groups * per_group
    attention.num_key_value_heads = groups


def keep_neurons(ffn: nn.Module, count: int) -> None:
    """Keep the first `count` neurons of a gated FFN."""
    rows = torch.arange(count)
    if hasattr(ffn, "gate_up_proj"):
        whole = ffn.down_proj.in_features
        ffn.gate_up_proj = _kept(ffn.gate_up_proj, torch.cat([rows, whole + rows]))
    else:
        ffn.gate_proj = _kept(ffn.gate_proj, rows)
        ffn.up_proj = _kept(ffn.up_proj, rows)
    ffn.down_proj = _kept(ffn.down_proj, columns=rows)


def uneven(layers, head: int = 16) -> None:
    """Four layers of four different widths."""
    keep_groups(layers[0].self_attn, [1], head)
    keep_neurons(layers[1].mlp, 40)
    keep_neurons(layers[2].mlp, 7)
    keep_groups(layers[3].self_attn, [0], head)


def without_attention(*numbers: int):
    def edit(layers) -> None:
        for n in numbers:
            layers[n].self_attn = NoAttention()

    return edit


def without_ffn(*numbers: int):
    def edit(layers) -> None:
        for n in numbers:
            layers[n].mlp = NoFfn()

    return edit


def both(*edits):
    def edit(layers) -> None:
        for one in edits:
            one(layers)

    return edit


def with_compensation(layers) -> None:
    """Biases on the output projections, as bias compensation leaves them."""
    for layer in layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            generator = torch.Generator().manual_seed(linear.in_features)
            linear.bias = nn.Parameter(torch.randn(linear.out_features, generator=generator))


class Constant(nn.Module):
    """A projection whose inputs are all gone: its bias is all that is left."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        linear = nn.Linear(1, width)
        linear.weight.data = linear.weight.data[:, :0]
        linear.bias.data = torch.randn(width, generator=generator)
        self.name = name
        setattr(self, name, linear)

    def forward(self, hidden_states, *args, **options):
        linear = getattr(self, self.name)
        out = linear(hidden_states[..., :0])
        return (out, None) if self.name == "o_proj" else out


def constants(layers) -> None:
    """Compensation alone is left of two attentions and two FFNs, of one layer both."""
    for n in (1, 2):
        layers[n].self_attn = Constant("o_proj", 64)
    for n in (2, 3):
        layers[n].mlp = Constant("down_proj", 64)


EDITS = {
    "constants": constants,
    "uneven": uneven,
    "attention gone from a middle layer": without_attention(1),
    "attention gone from the first layer": without_attention(0),
    "attention gone from the last layer": without_attention(3),
    "FFN gone from the first layer": without_ffn(0),
    "FFN gone from the last layer": without_ffn(3),
    "first layer gone, attention of the next too": both(without_attention(0, 1), without_ffn(0)),
    "a layer gone, the others uneven": both(
        without_attention(1), without_ffn(1, 0), without_attention(3)
    ),
    "uneven with compensation": both(uneven, with_compensation),
}
