"""What `trace` says of small networks, checked by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur
from secateur.measure.macs import count_macs
from secateur.structure.graph import Trace, TraceError, ValuesNeeded, rule, trace
from secateur.structure.graph.axes import macs_of
from secateur.structure.graph.op import RULES, Op
from secateur.structure.graph.proof import compare
from secateur.structure.graph.solver import Limits
from tests.structure.graph.choices import half
from tests.structure.graph.zoo import hf_text
from tests.structure.graph.zoo.table import make


@cache
def of(name: str) -> Trace:
    model, (args, kwargs) = make(name)
    return trace(model, args, kwargs, dynamic=False)


def kinds(traced: Trace) -> dict[str, str]:
    return {a.name: a.kind for a in traced.axes}


def test_llama_names_and_kinds() -> None:
    found = kinds(of("llama"))
    assert found["model.embed_tokens"] == "residual width"
    assert found["model.layers.1.self_attn.q_proj.heads"] == "heads"
    assert found["model.layers.1.self_attn.q_proj.query_heads"] == "query heads"
    assert found["model.layers.0.self_attn.q_proj.rope"] == "rope"
    assert found["model.layers.1.self_attn.v_proj.head_width"] == "head width"
    assert found["model.layers.1.mlp.gate_proj"] == "neurons"


def test_llama_heads_take_their_key_value_head_along() -> None:
    traced = of("llama")
    heads = next(a for a in traced.axes if a.kind == "heads")
    tensors = {m.tensor.split(".")[-2]: (m.dim, m.places[0].width) for m in heads.members}
    assert tensors == {"q_proj": (0, 16), "k_proj": (0, 8), "v_proj": (0, 8), "o_proj": (1, 16)}
    assert heads.note == "a key-value head with its 2 query heads"
    assert heads.parameters == 32 * (16 + 8 + 8 + 16)
    assert heads.exact


def test_rotary_width_ties_every_layer_and_is_off_by_default() -> None:
    rope = [a for a in of("llama").axes if a.kind == "rope"]
    assert len(rope) == 1
    assert not rope[0].default
    assert {m.tensor for m in rope[0].members} >= {
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.k_proj.weight",
    }


def test_residual_width_is_noted_and_not_exact() -> None:
    width = next(a for a in of("llama").axes if a.kind == "residual width")
    assert not width.exact
    assert width.mends
    assert width.default
    assert "old count" in width.note


def test_tied_weights_are_one_axis() -> None:
    traced = of("gpt2")
    width = next(a for a in traced.axes if a.kind == "residual width")
    assert sum(m.tensor.endswith(("wte.weight", "lm_head.weight")) for m in width.members) == 1


def test_convolutions_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    traced = trace(net, (torch.randn(2, 3, 8, 8),))
    (axis,) = traced.axes
    assert (axis.name, axis.kind, axis.units, axis.exact) == ("0", "channels", 8, True)
    assert [(m.tensor, m.dim) for m in axis.members] == [
        ("0.weight", 0), ("0.bias", 0), ("1.weight", 0), ("1.bias", 0),
        ("1.running_mean", 0), ("1.running_var", 0), ("3.weight", 1),
    ]  # fmt: skip
    assert axis.parameters == 27 + 1 + 2 + 36
    assert axis.macs == 2 * (36 * 27 + 16 * 36)
    assert traced.macs() == 8 * axis.macs
    why = {(f.tensor, f.dim): f.why for f in traced.frozen}
    assert why["3.weight", 0] == "user output"
    assert why["0.weight", 1] == "user input"
    assert "convolution window" in why["0.weight", 2]


@pytest.mark.parametrize("name", ["recurrent", "vgg"])
def test_macs_are_those_that_torch_counts(name: str) -> None:
    """At every step and sample, of all layers and directions."""
    model, (args, _) = make(name)
    assert macs_of(of(name).inference.costs) == count_macs(model, args).total


def test_softmax_axes_are_off_by_default() -> None:
    off = [a for a in of("linear_attention").axes if "softmax" in a.note]
    assert off
    assert not any(a.default or a.exact for a in off)


class Summed(nn.Module):
    """A sigmoid is not zero where its input is, and a sum over it notices."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).sigmoid().sum(-1)


def test_a_sum_over_what_is_not_zero_is_not_exact() -> None:
    traced = trace(Summed(), (torch.randn(2, 3),))
    (axis,) = traced.axes
    assert not axis.exact
    assert not axis.mends
    assert "sum" in axis.why
    assert compare(traced.inference, half([axis]), (torch.randn(2, 3),)).error > 1e-3


class Sorted(nn.Module):
    """An operator that orders the channels between two layers, beside a free pair of layers."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Linear(3, 8),
            nn.Linear(8, 6),
            nn.Linear(6, 4),
            nn.Linear(4, 2),
        )
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.function(self.b(self.a(x)))))


@torch.library.custom_op("secateur_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_operator_without_a_rule_freezes_and_is_named() -> None:
    traced = trace(Sorted(twice), (torch.randn(2, 3),))
    assert [a.name for a in traced.axes] == ["a", "c"]
    assert list(traced.unknown) == ["secateur_tests::twice"]
    why = {(f.tensor, f.dim): f.why for f in traced.frozen}
    assert why["b.weight", 0] == "operator secateur_tests::twice has no rule"


def test_a_rule_of_ones_own() -> None:
    @rule("secateur_tests::twice")
    def doubled(op: Op) -> tuple:
        return op["x"]

    try:
        traced = trace(Sorted(twice), (torch.randn(2, 3),))
    finally:
        del RULES["secateur_tests::twice"]
    assert [a.name for a in traced.axes] == ["a", "b", "c"]
    assert not traced.unknown
    assert compare(traced.inference, half(traced.axes), (torch.randn(2, 3),)).holds()


def test_a_wrong_rule_is_named() -> None:
    @rule("secateur_tests::twice")
    def wrong(op: Op) -> tuple:
        return op["x"][:1]

    try:
        with pytest.raises(TraceError, match="secateur_tests::twice"):
            trace(Sorted(twice), (torch.randn(2, 3),))
    finally:
        del RULES["secateur_tests::twice"]


def test_an_ordered_axis_keeps_its_size_and_says_why() -> None:
    traced = trace(Sorted(lambda x: x.sort(-1).values), (torch.randn(2, 3),))
    assert [a.name for a in traced.axes] == ["a", "c"]
    assert any("ranked" in f.why for f in traced.frozen if f.tensor == "b.weight")


def test_the_model_is_left_as_it_was() -> None:
    model, (args, kwargs) = make("llama")
    model.train()
    model.model.layers[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, args, kwargs)
    assert model.training
    assert not model.model.layers[0].training
    assert model.config.use_cache is True
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_wrong_example_is_named() -> None:
    with pytest.raises(TraceError, match="does not run on the example"):
        trace(nn.Linear(3, 2), (torch.randn(2, 4),))


class Branching(nn.Module):
    """Control flow that depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_control_flow_on_values_is_an_error_with_a_remedy() -> None:
    with pytest.raises(TraceError, match="Remedy"):
        trace(Branching(), (torch.randn(2, 3),))


def test_over_budget_everything_that_is_left_is_frozen() -> None:
    model, (args, kwargs) = make("resnet")
    traced = trace(model, args, kwargs, dynamic=False, limits=Limits(steps=60))
    assert any(e.kind == "budget" for e in traced.events)
    assert any("budget" in f.why for f in traced.frozen)
    assert compare(traced.inference, half(a for a in traced.axes if a.exact), args, kwargs).holds()


@pytest.mark.parametrize("name", ["swin", "llama", "shufflenet", "multihead"])
def test_the_batch_stays_free(name: str) -> None:
    """Traced at batch 2 with half of every axis removed, the graph runs at batch 5."""
    from secateur.structure.graph.edit import edited, sliced
    from secateur.structure.graph.graphnet import as_module

    model, (args, kwargs) = make(name)
    traced = trace(model, args, kwargs, dynamic=True)
    assert traced.inference.captured.dynamic
    kept = half(traced.axes)
    tensors = sliced(traced.inference, kept)
    small = as_module(edited(traced.inference, kept), lambda name: tensors[name])

    def five(t: Tensor) -> Tensor:
        return torch.cat([t, t, t[:1]])

    args, kwargs = tuple(map(five, args)), {k: five(v) for k, v in kwargs.items()}
    with torch.no_grad():
        out = small(*args, **kwargs)
    first = (
        out if isinstance(out, Tensor) else next(t for t in out.values() if isinstance(t, Tensor))
    )
    assert first.shape[0] == 5
    assert torch.allclose(first[0], first[2], atol=1e-5)


def test_no_weights_are_needed() -> None:
    """On the meta device, axes and costs are the same."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2))
        traced = trace(net, (torch.zeros(2, 3),))
    assert [(a.name, a.units, a.parameters) for a in traced.axes] == [("0", 8, 6)]


class WithNothing(nn.Module):
    """It begins a sequence of states with one of which there is nothing, as an empty cache does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x).relu()
        nothing = hidden.new_zeros(len(x), 0, hidden.shape[-1])
        return self.outer(torch.cat([nothing, hidden.unsqueeze(1)], 1)).sum(1)


def test_a_tensor_of_which_there_is_nothing_follows_what_it_is_joined_to() -> None:
    model, x = WithNothing(), torch.randn(4, 3)
    assert [(a.name, a.units) for a in trace(model, (x,)).axes] == [("inner", 8)]
    small = secateur.shrink(model, x, keep={"inner": [1, 2]}).model
    kept = model.inner(x).relu()[:, [1, 2]]
    wanted = kept @ model.outer.weight[:, [1, 2]].T + model.outer.bias
    assert torch.allclose(small(x), wanted, atol=1e-6)


class ByValue(nn.Module):
    """Which way it goes, values decide."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for row in range(int(x.count_nonzero())):
            x = x + self.outer(self.inner(x).relu()) / (row + 1)
        return x


def test_a_network_whose_way_values_decide_needs_its_weights() -> None:
    with torch.device("meta"), pytest.raises(ValuesNeeded, match=r"without its weights.*Remedy"):
        trace(ByValue(), (torch.zeros(2, 3),))
    with pytest.raises(
        TraceError, match=r"cannot be traced: .*nor can any of its submodules"
    ) as said:
        trace(ByValue(), (torch.ones(2, 3),))
    assert not isinstance(said.value, ValuesNeeded)


def test_the_work_grows_with_the_layers() -> None:
    """Counted in steps of the analysis, on the meta device: twice the layers cost at most twice the steps."""
    import transformers

    steps = []
    for layers in (2, 4, 8):
        config = transformers.LlamaConfig(**(hf_text.GROUPED | {"num_hidden_layers": layers}))
        with torch.device("meta"):
            model = transformers.LlamaForCausalLM(config)
            traced = trace(
                model, (), {"input_ids": torch.zeros(2, 8, dtype=torch.long)}, dynamic=False
            )
        assert all(t.is_meta for t in model.parameters())
        steps.append(traced.inference.solver.steps)
    assert steps[2] - steps[1] <= 2.1 * (steps[1] - steps[0])


def test_positions_of_a_fused_dimension() -> None:
    """In a fused gate and up projection, unit u owns rows u and u + width."""
    traced = of("fused_decoder")
    gate = next(a for a in traced.axes if a.name == "blocks.0.gate_up")
    rows = next(m for m in gate.members if m.tensor == "blocks.0.gate_up.weight")
    positions = np.sort(np.concatenate([p.positions(3) for p in rows.places]))
    assert positions.tolist() == [3, 3 + 48]
