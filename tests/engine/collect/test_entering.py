"""Weights of recurrent layers and of attention are judged by what they multiply."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.collect import collect


class Reader(nn.Module):
    def __init__(self, layer: nn.Module, crossed: bool = False) -> None:
        super().__init__()
        self.layer, self.crossed = layer, crossed

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.RNNBase):
            return self.layer(x)[0]
        other = x.flip(1) if self.crossed else x
        return self.layer(x, other, other, need_weights=False)[0]


def grams(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    names = [name for name, p in net.named_parameters() if p.dim() == 2]
    return collect(net, ["input_gram"], names, [x])["input_gram"]


def gram(rows: Tensor) -> Tensor:
    rows = rows.reshape(-1, rows.shape[-1])
    return rows.T @ rows / len(rows)


def test_recurrent_weights_read_the_states_before_each_step() -> None:
    torch.manual_seed(0)
    net, x = Reader(nn.LSTM(4, 4, 2, bidirectional=True, batch_first=True)), torch.randn(3, 5, 4)
    seen, layer = grams(net, x), net.layer
    below = torch.zeros(3, 5, 8)
    for way, order in (("", range(5)), ("_reverse", range(4, -1, -1))):
        cell, before = nn.LSTMCell(4, 4), []
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(cell, name, getattr(layer, f"{name}_l0{way}"))
        h = c = torch.zeros(3, 4)
        for t in order:
            before.append(h)
            h, c = cell(x[:, t], (h, c))
            below[:, t, slice(4, 8) if way else slice(4)] = h.detach()
        torch.testing.assert_close(seen[f"layer.weight_hh_l0{way}"], gram(torch.stack(before)))
        torch.testing.assert_close(seen[f"layer.weight_ih_l0{way}"], gram(x))
    torch.testing.assert_close(seen["layer.weight_ih_l1_reverse"], gram(below))
    assert seen["layer.weight_hh_l1"].shape == (4, 4)


@pytest.mark.parametrize("make", [nn.GRU, nn.RNN])
def test_steps_begin_with_the_states_that_are_given(make: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer, x, begin = make(3, 4), torch.randn(1, 2, 3), torch.randn(1, 2, 4)

    class Given(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, begin)[0]

    torch.testing.assert_close(grams(Given(layer), x)["layer.weight_hh_l0"], gram(begin))


def test_every_layer_begins_with_its_own_of_the_states_that_are_given() -> None:
    torch.manual_seed(0)
    layer, x = nn.LSTM(3, 4, 2), torch.randn(1, 2, 3)
    hidden, cells = torch.randn(2, 2, 4), torch.randn(2, 2, 4)

    class Given(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, (hidden, cells))[0]

    seen = grams(Given(layer), x)
    torch.testing.assert_close(seen["layer.weight_hh_l0"], gram(hidden[0]))
    torch.testing.assert_close(seen["layer.weight_hh_l1"], gram(hidden[1]))
    below = nn.LSTMCell(3, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(below, name, getattr(layer, f"{name}_l0"))
    read = below(x[0], (hidden[0], cells[0]))[0].detach()
    torch.testing.assert_close(seen["layer.weight_ih_l1"], gram(read))


def test_projections_of_three_inputs_read_one_each_however_they_are_given() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True)
    query, key, value = torch.randn(2, 3, 4), torch.randn(2, 6, 3), torch.randn(2, 6, 5)

    class Named(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, value=value, key=key)[0]

    seen = grams(Named(layer), query)
    for name, read in {"q": query, "k": key, "v": value}.items():
        torch.testing.assert_close(seen[f"layer.{name}_proj_weight"], gram(read))


def test_the_last_layer_of_an_attention_reads_what_its_heads_give() -> None:
    torch.manual_seed(0)
    attention, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
    q, k, v = (
        part.view(3, 5, 2, 4).transpose(1, 2)
        for part in nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(
            3, -1
        )
    )
    mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(3, 5, 8)
    seen = grams(Reader(attention), x)
    torch.testing.assert_close(seen["layer.out_proj.weight"], gram(mixed.detach()))
    torch.testing.assert_close(seen["layer.in_proj_weight"], gram(x))


def test_a_joint_projection_of_two_inputs_has_no_one_input() -> None:
    net = Reader(nn.MultiheadAttention(8, 2, batch_first=True), crossed=True)
    assert "layer.in_proj_weight" not in grams(net, torch.randn(2, 3, 8))
    data = (torch.randn(4, 3, 8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(
        PlanError, match=r"in_proj_weight' was not collected.*on one input.*'magnitude'"
    ):
        sc.prune(net, "wanda", density=0.5, walk="whole", data=data)


def test_transformers_of_torch_lose_the_asked_share_block_by_block() -> None:
    torch.manual_seed(0)
    net = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    data = (torch.randn(4, 3, 8), torch.zeros(4, dtype=torch.long))
    assert sc.prune(net, "wanda", density=0.5, data=data).sparsity == 0.5
